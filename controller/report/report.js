// Draws each figure when it comes near the screen: a long report opens at once.
"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const config = { displayModeBar: false, responsive: true }; // drag to zoom, double click to see all
  const draw = (element) => {
    const figure = figures[element.id];
    if (figure && !element.dataset.drawn) {
      element.dataset.drawn = "1";
      Plotly.newPlot(element, figure.data, figure.layout, config);
    }
  };
  const all = document.querySelectorAll(".figure");
  const near = new IntersectionObserver((entries) => entries.filter((e) => e.isIntersecting).forEach((e) => draw(e.target)), { rootMargin: "600px" });
  all.forEach((element) => near.observe(element));
  addEventListener("beforeprint", () => all.forEach(draw));
})();

// Draws the charts of the live page with plotly. Takes arrays with units in their names; knows nothing of requests or state.
"use strict";
const Charts = (() => {
  const INK = "#14212b", SOFT = "#566570", GRID = "#e3e8eb", BLUE = "#0072b2", ORANGE = "#c25a00", GREEN = "#00705a";
  const ZONES = ["#0072b2", "#d55e00", "#009e73", "#aa4f88", "#7a6a00", "#56b4e9", "#14212b", "#8c6bb1"];
  const CONFIG = { displayModeBar: false, responsive: true, doubleClick: "reset" };

  // No `transition` here, not even one of no duration: plotly then animates axis ranges, and an animated range counts as
  // zoomed by a person, so that the chart stands still from then on.
  function layout(extra) {
    return Object.assign({
      font: { family: '"Segoe UI", "DejaVu Sans", "Liberation Sans", Arial, sans-serif', size: 12, color: INK },
      margin: { l: 54, r: 12, t: 6, b: 30 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      showlegend: false, hovermode: "x unified", uirevision: "keep", // a person's zoom survives the next draw
      hoverlabel: { font: { size: 12 } },
    }, extra);
  }
  function axis(title, extra) {
    return Object.assign({ title: { text: title, font: { size: 12, color: SOFT }, standoff: 6 }, gridcolor: GRID, linecolor: "#9fb0bd",
      zeroline: false, automargin: false, tickfont: { size: 11 } }, extra);
  }
  const times = (extra) => axis("", Object.assign({ type: "date", hoverformat: "%d %b %H:%M:%S", tickformat: "%H:%M\n%d %b", nticks: 7 }, extra));
  const line = (x, y, name, color, extra) => Object.assign({ type: "scatter", mode: "lines", x, y, name, line: { color, width: 1.8 } }, extra);
  const scale = (values, k) => values.map((v) => (v === null ? null : v * k));

  const draw = (id, data, l) => Plotly.react(id, data, l, CONFIG);

  // The 95 % band is the filter's own standard deviation times 1.96, cut to what a state of charge can be.
  function band(x, mid, sd, k, axisName) {
    const edge = (sign) => mid.map((m, i) => (m === null || sd[i] === null ? null : Math.min(1.05, Math.max(-0.05, m + sign * 1.96 * sd[i])) * k));
    const common = { type: "scatter", mode: "lines", x, yaxis: axisName, line: { width: 0 }, hoverinfo: "skip" };
    return [Object.assign({ y: edge(-1) }, common), Object.assign({ y: edge(1), fill: "tonexty", fillcolor: "rgba(0,112,90,.22)" }, common)];
  }

  function channel(id, history) {
    const raw = history.raw, c = raw.columns, filter = history.filter, data = [];
    if (c.voltage_v) data.push(line(raw.time, c.voltage_v, "Voltage, V", BLUE, { hovertemplate: "%{y:.3f}" }));
    if (c.current_a) data.push(line(raw.time, c.current_a, "Current, A", ORANGE, { yaxis: "y2", hovertemplate: "%{y:.3f}" }));
    if (filter && filter.columns.soc) {
      const f = filter.columns;
      if (f.soc_sd) data.push(...band(filter.time, f.soc, f.soc_sd, 100, "y3"));
      data.push(line(filter.time, scale(f.soc, 100), "SOC, %", GREEN, { yaxis: "y3", hovertemplate: "%{y:.1f}" }));
    }
    draw(id, data, layout({
      xaxis: times({ anchor: "y3" }),
      yaxis: axis("V", { domain: [0.69, 1] }), yaxis2: axis("A", { domain: [0.37, 0.63] }), yaxis3: axis("SOC, %", { domain: [0, 0.31] }),
    }));
  }

  function loading(id, history, target) {
    const data = [], shapes = [];
    const gauge = history.trend && history.trend.columns.gauge_mass_loading_kg_m2;
    if (gauge) data.push(line(history.trend.time, scale(gauge, 1000), "Gauge, g/m²", "#8fb7d3", { mode: "markers", marker: { size: 3, color: "#8fb7d3" }, hovertemplate: "%{y:.1f}" }));
    const web = history.web && history.web.columns.mean_kg_m2;
    if (web) data.push(line(history.web.time, scale(web, 1000), "Web mean, g/m²", BLUE, { hovertemplate: "%{y:.2f}" }));
    const range = {};
    if (target.mass_loading_kg_m2) {
      const t = target.mass_loading_kg_m2 * 1000, w = t * (target.tolerance_fraction || 0);
      shapes.push({ type: "rect", xref: "paper", x0: 0, x1: 1, y0: t - w, y1: t + w, fillcolor: "rgba(0,112,90,.12)", line: { width: 0 }, layer: "below" });
      shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: t, y1: t, line: { color: GREEN, width: 1, dash: "dash" }, layer: "below" });
      range.range = [t - Math.max(4 * w, 1), t + Math.max(4 * w, 1)];
    }
    draw(id, data, layout({ xaxis: times(), yaxis: axis("g/m²", range), shapes }));
  }

  // What the twin says of the newest place that it knows from both sides, a scan behind the gauge: each lane with its own 95 % band, along and across told apart.
  function underGauge(map) {
    if (!map || !map.columns.loading_kg_m2) return [];
    const lanes = map.point.map((p, i) => [p, map.columns.loading_kg_m2[i], map.columns.loading_sd_kg_m2[i]]).filter((l) => l[0] > 0 && l[1] !== null && l[2] !== null);
    const edge = (sign) => lanes.map((l) => (l[1] + sign * 1.96 * l[2]) * 1000), x = lanes.map((l) => l[0]), place = (map.columns.web_position_m || [null])[0], common = { type: "scatter", mode: "lines", x, hoverinfo: "skip", line: { width: 0 } };
    return [Object.assign({ y: edge(-1) }, common), Object.assign({ y: edge(1), fill: "tonexty", fillcolor: "rgba(0,112,90,.22)" }, common),
      { type: "scatter", mode: "lines", x, y: edge(0), name: place === null ? "By the twin" : `Twin at ${place.toFixed(0)} m`, line: { color: GREEN, width: 1.8 }, hovertemplate: "%{y:.2f} g/m²" }];
  }

  function profile(id, history, target, map) {
    const p = history.profile;
    if (!p || !p.values.length) return draw(id, [], layout({ xaxis: axis("lane"), yaxis: axis("g/m²") }));
    const stats = p.values.map((lane) => {
      const v = lane.filter((x) => x !== null && x > 0).map((x) => x * 1000), n = v.length;
      const mean = n ? v.reduce((a, b) => a + b, 0) / n : null;
      const sd = n > 1 ? Math.sqrt(v.reduce((a, b) => a + (b - mean) ** 2, 0) / (n - 1)) : null;
      return { mean, sd, last: lane[lane.length - 1] === null ? null : lane[lane.length - 1] * 1000 };
    });
    const shapes = [], range = {};
    if (target.mass_loading_kg_m2) {
      const t = target.mass_loading_kg_m2 * 1000, w = t * (target.tolerance_fraction || 0);
      shapes.push({ type: "rect", xref: "paper", x0: 0, x1: 1, y0: t - w, y1: t + w, fillcolor: "rgba(0,112,90,.12)", line: { width: 0 }, layer: "below" });
      shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: t, y1: t, line: { color: GREEN, width: 1, dash: "dash" }, layer: "below" });
      range.range = [t - Math.max(4 * w, 1), t + Math.max(4 * w, 1)];
    }
    draw(id, [
      ...underGauge(map),
      { type: "scatter", mode: "markers", x: p.point, y: stats.map((s) => s.mean), name: "Mean ± SD", marker: { color: BLUE, size: 7 },
        error_y: { type: "data", array: stats.map((s) => s.sd || 0), color: BLUE, thickness: 1.4, width: 3 }, hovertemplate: "%{y:.2f} g/m²" },
      { type: "scatter", mode: "lines", x: p.point, y: stats.map((s) => s.last), name: "Last scan", line: { color: ORANGE, width: 1.4, shape: "hvh" }, hovertemplate: "%{y:.2f} g/m²" },
    ], layout({ xaxis: axis("lane, from the operator side", { dtick: 4, tick0: 4 }), yaxis: axis("g/m²", range), shapes, margin: { l: 54, r: 12, t: 6, b: 38 } }));
  }

  function zones(id, history, setpoints) {
    const z = history.zones;
    const data = z ? z.values.map((values, i) => line(z.time, values, `Zone ${z.point[i]}`, ZONES[i % ZONES.length], { hovertemplate: "%{y:.1f} °C" })) : [];
    const shapes = setpoints.map((y, i) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, layer: "below", line: { color: ZONES[i % ZONES.length], width: 1, dash: "dot" } }));
    const annotations = z ? z.values.map((values, i) => {
      const last = values.filter((v) => v !== null).pop();
      return { xref: "paper", x: 1.01, xanchor: "left", y: last, yanchor: "middle", text: `zone ${z.point[i]}`, showarrow: false, font: { size: 11, color: ZONES[i % ZONES.length] } };
    }).filter((a) => a.y !== undefined) : [];
    draw(id, data, layout({ xaxis: times(), yaxis: axis("°C"), shapes, annotations, margin: { l: 54, r: 52, t: 6, b: 30 } }));
  }

  return { channel, loading, profile, zones };
})();

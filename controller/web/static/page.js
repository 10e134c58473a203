// The live page: takes snapshots from /api/stream, draws them, and says plainly when they are not live any more.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const RAMP = ["#edf8b1", "#c7e9b4", "#7fcdbb", "#41b6c4", "#1d91c0", "#225ea8", "#253494"];
  const STATE_COLORS = ["#c3c9cd", "#0072b2", "#56b4e9", "#ece7d8", "#e69f00", "#cc79a7", "#009e73"];
  const QUANTITIES = {
    voltage: { stream: "channel", column: "voltage_v", unit: "V", digits: 3, range: [2.5, 4.2], k: 1, span: 0.01 },
    soc: { stream: "cell_state", column: "soc", unit: "%", digits: 1, range: [0, 100], k: 100, span: 1 },
    temperature: { stream: "channel", column: "temperature_c", unit: "°C", digits: 1, range: [20, 40], k: 1, span: 1 },
    resistance: { stream: "cell_pulse", column: "r_30s_ohm", unit: "mΩ", digits: 1, range: [30, 60], k: 1000, span: 1 },
    grade: { stream: "cell_grade", column: "grade", unit: "", digits: 0 },
    state: { stream: "channel", column: "state", unit: "", digits: 0 },
  };
  const GRADES = { 1: "A", 2: "B", 3: "retest", 4: "reject" }; // GRADE_NUMBERS of twin/grading.py
  const GRADE_COLORS = { 1: "#009e73", 2: "#56b4e9", 3: "#e69f00", 4: "#d55e00" };
  const LINK_LOST_S = 12; // the server speaks at least every 5 s
  const ui = { quantity: "voltage", channel: 1, rack: null, coater: null };
  let state = null, receivedAt = 0, heardAt = performance.now(), source = null, refreshing = false, everOpen = false;

  const text = (id, value) => { if ($(id).textContent !== value) $(id).textContent = value; };
  const element = (tag, className, content) => { const e = document.createElement(tag); if (className) e.className = className; if (content !== undefined) e.textContent = content; return e; };
  const fixed = (v, digits) => (v === null || v === undefined ? "–" : v.toFixed(digits).replace("-", "−"));
  const whole = (n) => n.toLocaleString("en-GB");
  const stamp = (iso) => (iso ? iso.slice(0, 10) + " " + iso.slice(11, 19) : "–");
  const seconds = (s) => (s < 10 ? s.toFixed(1) + " s" : s < 120 ? s.toFixed(0) + " s" : s < 7200 ? (s / 60).toFixed(0) + " min" : (s / 3600).toFixed(1) + " h");
  const sinceReceived = () => (performance.now() - receivedAt) / 1000;
  const linkLost = () => (performance.now() - heardAt) / 1000 > LINK_LOST_S || (source && source.readyState !== EventSource.OPEN);
  const ageOf = (d) => (d.age_s === null ? null : d.age_s + sinceReceived());
  const isOld = (d) => linkLost() || d.connection !== "connected" || d.age_s === null || ageOf(d) > d.stale_after_s;

  // ---- values -----------------------------------------------------------------------------------------------------
  function value(device, stream, column, point = 0) {
    const s = device.streams[stream];
    if (!s || !s.columns[column]) return null;
    const i = s.point.indexOf(point);
    return i < 0 ? null : s.columns[column][i];
  }
  const codeName = (device, tag, code) => { const names = device.codes[tag]; return code === null ? "–" : (names && names[code]) || `code ${code}`; };
  function bitNames(device, tag, bits) {
    const names = device.codes[tag] || {};
    return Object.keys(names).filter((b) => bits & Number(b)).map((b) => names[b]).join(", ") || `bits ${bits}`;
  }
  function ink(color) {
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
    return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#14212b" : "#fff";
  }
  function ramp(f) {
    const x = Math.min(1, Math.max(0, f)) * (RAMP.length - 1), i = Math.min(RAMP.length - 2, Math.floor(x)), t = x - i;
    const mix = [1, 3, 5].map((k) => Math.round(parseInt(RAMP[i].slice(k, k + 2), 16) * (1 - t) + parseInt(RAMP[i + 1].slice(k, k + 2), 16) * t));
    return "#" + mix.map((v) => v.toString(16).padStart(2, "0")).join("");
  }
  function values(id, entries) {
    const box = $(id);
    while (box.children.length > entries.length) box.lastChild.remove();
    while (box.children.length < entries.length) { const d = element("div"); d.append(element("dt"), element("dd")); box.append(d); }
    entries.forEach(([name, shown, unit, off], i) => {
      const d = box.children[i], dd = d.lastChild;
      d.className = off ? "off" : "";
      d.firstChild.textContent = name;
      dd.textContent = shown;
      if (unit) dd.append(element("small", "", unit));
    });
  }

  // ---- header -----------------------------------------------------------------------------------------------------
  function chip(box, kind, name, words, title) {
    const c = element("div", "chip " + kind);
    c.append(element("i"), element("b", "", name), element("span", "", words));
    c.title = title || "";
    box.append(c);
  }
  function drawChips() {
    const box = element("div");
    for (const d of state.devices) {
      const age = ageOf(d), old = isOld(d), words = [];
      if (linkLost()) words.push("unknown");
      else if (d.connection !== "connected") words.push(d.connection.replace("_", " "));
      words.push(age === null ? "no data yet" : seconds(age) + " old");
      const late = !old && d.lag_s !== null && Math.abs(d.lag_s) > d.stale_after_s;
      if (late) words.push("stamps " + seconds(Math.abs(d.lag_s)) + (d.lag_s > 0 ? " behind" : " ahead"));
      chip(box, old ? (d.connection === "connecting" ? "warn" : "bad") : late ? "warn" : "", d.device, words.join(", "), d.detail);
    }
    if (state.counters.length && linkLost()) chip(box, "unknown", "records", "unknown");
    else if (state.counters.length) {
      const off = state.counters.filter((c) => !c.reconciles), lost = state.counters.filter((c) => c.dropped || c.rejected);
      if (off.length) chip(box, "bad", "records", "do not reconcile: " + off.map((c) => c.sink).join(", "));
      else chip(box, lost.length ? "warn" : "", "records", lost.length ? "reconcile, with losses" : "reconcile");
    }
    $("chips").replaceChildren(...box.children);
  }
  function drawHeader() {
    text("title", state.line.title);
    document.title = state.line.title + " · celltwin";
    text("status", linkLost() ? "not live" : state.status);
    text("plant-time", stamp(state.plant_time));
    text("speed", state.speed === 1 ? "" : `${whole(Math.round(state.speed))} × real time`);
    $("progress").hidden = state.progress === null;
    if (state.progress !== null) { $("progress").firstChild.style.width = (state.progress * 100).toFixed(1) + "%"; $("progress").setAttribute("aria-valuenow", (state.progress * 100).toFixed(0)); }
    drawChips();
  }

  // ---- rack -------------------------------------------------------------------------------------------------------
  const havingStream = (names) => state.devices.filter((d) => names.some((n) => d.streams[n]));
  function pick(kind, devices) {
    const select = $(kind + "-pick");
    if (!devices.some((d) => d.device === ui[kind])) ui[kind] = devices.length ? devices[0].device : null;
    select.hidden = devices.length < 2;
    if (select.options.length !== devices.length) select.replaceChildren(...devices.map((d) => new Option(d.device, d.device)));
    select.value = ui[kind];
    return devices.find((d) => d.device === ui[kind]) || null;
  }
  function staleNote(id, device, calm) {
    const old = isOld(device), age = ageOf(device);
    $(id).classList.toggle("alert", old);
    text(id, old ? (age === null ? "No data yet" : `NOT LIVE: last values, ${seconds(age)} old`) + (device.detail ? " · " + device.detail : "") : calm);
    return old;
  }
  function makeCells(n) {
    const grid = $("grid");
    while (grid.children.length > n) grid.lastChild.remove();
    while (grid.children.length < n) {
      const b = element("button", "cell");
      b.append(element("small"), document.createTextNode(""));
      b.addEventListener("click", () => { ui.channel = Number(b.dataset.channel); draw(); refresh(); });
      grid.append(b);
    }
  }
  function drawRack(device) {
    const channel = device.streams.channel, q = QUANTITIES[ui.quantity], s = device.streams[q.stream], points = channel.point;
    const running = value(device, "rack", "channels_running"), rackState = value(device, "rack", "rack_state");
    text("rack-title", `${device.device} · ${device.title || "formation rack"}`);
    const calm = [device.lot, rackState === null ? "" : codeName(device, "rack_state", rackState), running === null ? "" : `${running} of ${points.length} in programme`];
    $("rack").classList.toggle("old", staleNote("rack-note", device, calm.filter(Boolean).join(" · ")));
    const shown = points.map((p) => { const v = value(device, q.stream, q.column, p); return v === null || q.k === undefined ? v : v * q.k; });
    const known = shown.filter((v) => v !== null);
    let [low, high] = q.range || [0, 1];
    if (q.range && known.length) {
      const min = Math.min(...known), max = Math.max(...known);
      [low, high] = $("spread").checked ? [min, Math.max(max, min + q.span)] : [Math.min(low, min), Math.max(high, max)];
    }
    makeCells(points.length);
    points.forEach((p, i) => {
      const b = $("grid").children[i], v = shown[i], bits = value(device, "channel", "fault_bits", p) || 0;
      const words = ui.quantity === "state" || ui.quantity === "grade", colors = ui.quantity === "grade" ? GRADE_COLORS : STATE_COLORS;
      const color = v === null ? "#e9ecee" : words ? colors[v % STATE_COLORS.length] || "#c3c9cd" : ramp((v - low) / (high - low));
      const bad = channel.quality[i] === 2 || (s && s.quality[s.point.indexOf(p)] === 2);
      b.dataset.channel = p;
      b.className = "cell" + (words ? " words" : "") + (v === null || bad ? " unknown" : "") + (bits ? " fault" : "");
      b.style.background = color; b.style.color = ink(color);
      b.firstChild.textContent = p;
      b.lastChild.textContent = v === null || bad ? "–" : ui.quantity === "grade" ? GRADES[v] || `code ${v}` : words ? codeName(device, "state", v) : fixed(v, q.digits);
      b.setAttribute("aria-pressed", String(p === ui.channel));
      b.title = `Channel ${p}` + (bits ? ": " + bitNames(device, "fault_bits", bits) : "") + (bad ? ": bad quality" : "");
    });
    drawLegend(device, q, low, high);
    for (const b of $("quantity").children) b.setAttribute("aria-pressed", String(b.dataset.q === ui.quantity));
  }
  function drawLegend(device, q, low, high) {
    const box = element("div");
    const key = (color, words) => { const k = element("span", "key"), i = element("i"); i.style.background = color; k.append(i, element("span", "", words)); box.append(k); };
    if (ui.quantity === "state") Object.entries(device.codes.state || {}).forEach(([code, name]) => key(STATE_COLORS[code % STATE_COLORS.length], name));
    else if (ui.quantity === "grade") Object.entries(GRADES).forEach(([code, name]) => key(GRADE_COLORS[code], name));
    else {
      const bar = element("span", "ramp");
      bar.style.background = `linear-gradient(90deg, ${RAMP.join(", ")})`;
      box.append(element("span", "", `${fixed(low, q.digits)} ${q.unit}`), bar, element("span", "", `${fixed(high, q.digits)} ${q.unit}`));
    }
    key("repeating-linear-gradient(45deg, #e9ecee, #e9ecee 3px, #c4cace 3px, #c4cace 6px)", "no good value");
    $("legend").replaceChildren(...box.children);
  }
  function drawDetail(device) {
    const p = ui.channel, at = (stream, column) => value(device, stream, column, p), cell = device.streams.cell_state;
    const old = isOld(device), bits = at("channel", "fault_bits") || 0;
    $("detail").classList.toggle("old", old);
    text("detail-title", `Channel ${p}`);
    const where = [codeName(device, "state", at("channel", "state")), `step ${fixed(at("channel", "step"), 0)}`, `cycle ${fixed(at("channel", "cycle"), 0)}`];
    $("detail-note").classList.toggle("alert", bits !== 0 || old);
    text("detail-note", (old ? "NOT LIVE · " : "") + (bits ? "FAULT: " + bitNames(device, "fault_bits", bits) + " · " : "") + where.join(" · "));
    const pm = (v, sd, k, d) => (v === null ? "–" : fixed(v * k, d) + (sd === null ? "" : " ± " + fixed(1.96 * sd * k, d)));
    const rows = [["Voltage", fixed(at("channel", "voltage_v"), 3), "V"], ["Current", fixed(at("channel", "current_a"), 3), "A"], ["Temperature", fixed(at("channel", "temperature_c"), 1), "°C"],
      ["Charged", fixed(at("channel", "charge_ah"), 3), "Ah"], ["Discharged", fixed(at("channel", "discharge_ah"), 3), "Ah"]];
    if (cell) rows.push(["SOC ± 95 %", pm(at("cell_state", "soc"), at("cell_state", "soc_sd"), 100, 1), "%"],
      ["R0 ± 95 %", pm(at("cell_state", "r0_ohm"), at("cell_state", "r0_sd_ohm"), 1000, 1), "mΩ"]);
    if (at("cell_pulse", "r_30s_ohm") !== null) rows.push(["DCIR 30 s ± 95 %", pm(at("cell_pulse", "r_30s_ohm"), at("cell_pulse", "r_30s_ohm_sd"), 1000, 1), "mΩ"]);
    if (at("cell_rest", "k_mv_h") !== null) rows.push(["K ± 95 %", pm(at("cell_rest", "k_mv_h"), at("cell_rest", "k_mv_h_sd"), 1, 3), "mV/h"]);
    if (at("cell_grade", "grade") !== null) rows.push(["Grade", GRADES[at("cell_grade", "grade")] || "–", ""]);
    values("detail-values", rows);
  }

  // ---- coater -----------------------------------------------------------------------------------------------------
  function drawCoater(device) {
    const at = (column) => value(device, "coater", column), t = device.target, grams = (v) => (v === null ? null : v * 1000);
    text("coater-title", `${device.device} · ${device.title || "coater"}`);
    const calm = [device.lot, device.recipe].filter(Boolean).join(" · ");
    $("coater").classList.toggle("old", staleNote("coater-note", device, calm));
    const mean = value(device, "web_loading", "mean_kg_m2"), cv = value(device, "web_loading", "cv");
    const off = (v) => v !== null && t.mass_loading_kg_m2 !== null && Math.abs(v / t.mass_loading_kg_m2 - 1) > t.tolerance_fraction;
    const rows = [["State", codeName(device, "coater_state", at("coater_state"))], ["Web speed", fixed(at("web_speed_m_s"), 3), "m/s"],
      ["Coated", at("web_position_m") === null ? "–" : whole(Math.round(at("web_position_m"))), t.length_m ? `of ${whole(t.length_m)} m` : "m"], ["Pump", fixed(at("pump_rate_ml_s"), 2), "mL/s"]];
    if (mean !== null) rows.push(["Loading, web mean", fixed(grams(mean), 1), "g/m²", off(mean)], ["CV of loading", cv === null ? "–" : fixed(cv * 100, 2), "%"]);
    else rows.push(["Loading, gauge", fixed(grams(at("gauge_mass_loading_kg_m2")), 1), "g/m²"]);
    if (t.mass_loading_kg_m2) rows.push(["Target", fixed(grams(t.mass_loading_kg_m2), 1) + (t.tolerance_fraction ? " ± " + fixed(t.tolerance_fraction * 100, 0) + " %" : ""), "g/m²"]);
    const solvent = at("residual_solvent_fraction");
    rows.push(["Solvent left", solvent === null ? "–" : fixed(solvent * 100, 2), "% of dry mass"], ["Web at exit", fixed(at("web_temperature_c"), 1), "°C"]);
    values("coater-values", rows);
  }

  // ---- control charts ---------------------------------------------------------------------------------------------
  function drawCharts() {
    const rows = [], word = (name) => name.replaceAll("_", " ");
    for (const device of state.devices) for (const [name, s] of Object.entries(device.streams)) {
      if (!name.startsWith("spc/")) continue;
      const flags = s.columns.flags || [], cpk = (s.columns.cpk || []).filter((v) => v !== null), out = s.point.filter((p, i) => flags[i] > 0);
      const row = element("tr");
      row.append(element("td", "", word(name.slice(4))), element("td", "", device.device), element("td", "", whole(s.rows)),
        element("td", "", cpk.length ? fixed(Math.min(...cpk), 2) : "–"),
        element("td", out.length ? "alert" : "", out.length ? (s.point.length > 1 ? `out of control: ${out.slice(0, 6).join(", ")}${out.length > 6 ? " …" : ""}` : "out of control") : "in control"));
      rows.push(row);
    }
    $("charts").hidden = !rows.length;
    $("chart-table").tBodies[0].replaceChildren(...rows);
  }

  // ---- tables -----------------------------------------------------------------------------------------------------
  function drawTables() {
    const body = $("counters").tBodies[0];
    body.replaceChildren(...state.counters.map((c) => {
      const row = element("tr");
      row.append(element("td", "", c.sink));
      for (const k of ["accepted", "delivered", "spooled", "rejected", "dropped"]) row.append(element("td", (k === "rejected" || k === "dropped") && c[k] ? "alert" : "", whole(c[k])));
      row.append(element("td", c.reconciles ? "" : "alert", c.reconciles ? "adds up" : "DOES NOT ADD UP"));
      return row;
    }));
    $("spool").classList.toggle("alert", !state.spool.accepts);
    text("spool", state.spool.accepts ? "Accepted = delivered + waiting + rejected + dropped." : "Spool does not accept: " + state.spool.detail);
    const item = (time, device, words, outcome, good) => {
      const li = element("li");
      li.append(element("time", "", (time || "").slice(11, 19)), document.createTextNode(`${device}: ${words} `));
      if (outcome) li.append(element("span", good ? "good" : "bad", outcome.replaceAll("_", " ")));
      return li;
    };
    const none = (words) => { const li = element("li", "note", words); return [li]; };
    const commands = state.commands.map((c) => item(c.time, c.device, [c.name, c.reason && `(${c.reason})`].filter(Boolean).join(" "), c.outcome, c.outcome === "confirmed" || c.outcome === "sent"));
    $("commands").replaceChildren(...(commands.length ? commands : none("None so far.")));
    const gaps = state.gaps.map((g) => [g.time, item(g.time, g.device, g.reason || "no data", `gap of ${seconds(g.duration_s || 0)}`, false)]);
    const events = state.events.map((e) => [e.time, item(e.time, e.device, e.message || "", e.severity === "info" ? "" : e.severity, false)]);
    const both = [...gaps, ...events].sort((a, b) => (a[0] < b[0] ? 1 : -1)).map((x) => x[1]);
    $("events").replaceChildren(...(both.length ? both : none("None so far.")));
  }

  // ---- life -------------------------------------------------------------------------------------------------------
  function draw() {
    const lost = everOpen && linkLost();
    $("offline").hidden = !lost;
    if (lost) text("offline", state && state.progress !== null && state.progress > 0.99 ? "The run is over. These are its last values." : "No connection to celltwin. Nothing below is live.");
    if (!state) return;
    drawHeader();
    const rack = pick("rack", havingStream(["channel"])), coater = pick("coater", havingStream(["coater", "coater_zone", "coater_profile"]));
    $("rack").hidden = $("detail").hidden = !rack;
    $("coater").hidden = !coater;
    $("waiting").hidden = Boolean(rack || coater);
    if (rack) { drawRack(rack); drawDetail(rack); }
    if (coater) drawCoater(coater);
    drawCharts();
    drawTables();
  }
  async function get(path) {
    const answer = await fetch(path);
    return answer.ok ? answer.json() : null;
  }
  async function refresh() {
    if (refreshing || document.hidden || !state || linkLost()) return;
    refreshing = true;
    try {
      const wanted = ui.channel, rack = ui.rack, device = state.devices.find((d) => d.device === ui.coater);
      const [cell, coater] = await Promise.all([rack && get(`/api/channel/${wanted}?device=${encodeURIComponent(rack)}`), device && get(`/api/coater?device=${encodeURIComponent(device.device)}`)]);
      if (cell && wanted === ui.channel) Charts.channel("detail-chart", cell);
      if (coater) { Charts.loading("loading-chart", coater, device.target); Charts.profile("profile-chart", coater, device.target, device.streams.web_map); Charts.zones("zone-chart", coater, device.target.zone_c); }
      if (wanted !== ui.channel) setTimeout(refresh, 0);
    } catch (_) { /* the server went away: the stream notices and the banner says so */ } finally { refreshing = false; }
  }
  function connect() {
    source = new EventSource("/api/stream");
    source.addEventListener("open", () => { everOpen = true; heardAt = performance.now(); });
    source.addEventListener("ping", () => { heardAt = performance.now(); });
    source.addEventListener("state", (message) => {
      const first = state === null;
      state = JSON.parse(message.data);
      heardAt = receivedAt = performance.now();
      draw();
      if (first) refresh();
    });
    source.addEventListener("error", () => { everOpen = true; if (source.readyState === EventSource.CLOSED) setTimeout(connect, 5000); draw(); });
  }
  for (const b of $("quantity").children) b.addEventListener("click", () => { ui.quantity = b.dataset.q; draw(); });
  $("spread").addEventListener("change", draw);
  $("rack-pick").addEventListener("change", (e) => { ui.rack = e.target.value; draw(); refresh(); });
  $("coater-pick").addEventListener("change", (e) => { ui.coater = e.target.value; draw(); refresh(); });
  $("grid").addEventListener("keydown", (e) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -8, ArrowDown: 8 }[e.key], cells = $("grid").children;
    if (!step) return;
    const next = cells[[...cells].indexOf(document.activeElement) + step];
    if (next) { e.preventDefault(); next.focus(); next.click(); }
  });
  setInterval(draw, 1000); // ages grow also when nothing comes
  setInterval(refresh, 2000);
  connect();
})();

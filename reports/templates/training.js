// The training's curves, to be pointed at and smoothed, and the rollouts of any step. Without this the page has a picture.
addEventListener("DOMContentLoaded", async () => {
  const find = (name) => document.getElementById(name);
  const { steps, panels, rollouts } = await unpacked("training-data");
  const moving = find("moving"), smoothing = find("smoothing"), select = find("step");
  const style = (name) => getComputedStyle(document.body).getPropertyValue(name);
  const width = () => find("panels").clientWidth, short = (value) => String(Number(value.toPrecision(4)));
  let chosen = steps.length - 1, half = 0;

  // The mean of the values within `half` steps on both sides, where a step has a value of its own.
  const smoothed = (values) => values.map((value, at) => {
    if (value === null || !half) return null;
    const near = values.slice(Math.max(0, at - half), at + half + 1).filter((each) => each !== null);
    return near.reduce((sum, each) => sum + each, 0) / near.length;
  });

  // Of each curve as it is and smoothed; the held-out points last.
  const dataOf = ({ lines, points }) => {
    const held = new Map(points.map(([step, value]) => [step, value]));
    return [steps, ...lines.flatMap(([, , , values]) => [values, smoothed(values)]), steps.map((step) => held.get(step) ?? null)];
  };

  function panel({ unit, ends, lines, points_named, points }, place) {
    const ink = () => style("--ink"), soft = () => style("--soft"), last = place === panels.length - 1;
    const keys = [...lines.map(([name, color]) => [name, color]), ...(points.length ? [[points_named, ""]] : [])];
    const values = keys.map(() => make("output"));
    const legend = make("p", {}, make("b", { textContent: word(unit) }), ...keys.map(([name, color], at) => {
      const mark = make("i");
      mark.style.background = color || "currentColor";
      return make("span", {}, mark, `${visible(word(name))} `, values[at]);
    }));
    const box = make("div", { className: "panel" }, legend);
    find("panels").append(box);
    const axis = { stroke: soft, grid: { stroke: () => style("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const curve = (color, more) => ({ stroke: () => color || ink(), points: { show: steps.length < 2 }, spanGaps: true, ...more });
    const range = (_, low, high) => {
      const [from, to] = low === null ? [0, 1] : uPlot.rangeNum(low, high, 0.1, true);
      return [ends[0] ?? from, ends[1] ?? to];
    };
    const chart = new uPlot({
      width: width(), height: place ? 130 : 220, legend: { show: false }, padding: [8, 8, 0, 0],
      scales: { x: { time: false, range: (_, low, high) => [low - Math.max(0.5, (high - low) / 50), high + Math.max(0.5, (high - low) / 50)] }, y: { range } },
      axes: [{ ...axis, size: last ? 30 : 22, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 1e4, 1e5, 1e6] }, { ...axis, size: 52 }],
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: "training" } },
      series: [{}, ...lines.flatMap(([, color, thick]) => [curve(color, { width: thick }), curve(color, { width: 2 })]),
        curve("", { width: 1, points: { show: true, size: 7, fill: ink } })],
      hooks: { setCursor: [({ cursor }) => say(cursor.idx ?? chosen)], draw: [(u) => marks(u, points)] },
    }, dataOf(panels[place]), box);
    chart.root.setAttribute("role", "img");
    chart.root.setAttribute("aria-label", word(unit));
    chart.over.addEventListener("click", () => { if (chart.cursor.idx !== null) choose(chart.cursor.idx); });
    return { chart, say: (at) => {
      lines.forEach(([, , , curve], line) => { values[line].textContent = curve[at] === null ? "–" : short(curve[at]); });
      if (points.length) values.at(-1).textContent = nearest(points, steps[at])[4];
    } };
  }

  const nearest = (rows, step) => rows.reduce((best, row) => Math.abs(row[0] - step) < Math.abs(best[0] - step) ? row : best);

  // The intervals of the points, and a line at the step whose rollouts are shown.
  function marks(u, points) {
    const { ctx, bbox } = u, at = u.valToPos(steps[chosen], "x", true);
    const line = (x, from, to) => { ctx.beginPath(); ctx.moveTo(x, from); ctx.lineTo(x, to); ctx.stroke(); };
    ctx.save();
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.strokeStyle = style("--ink");
    for (const [step, , low, high] of points)
      if (low !== null) line(u.valToPos(step, "x", true), u.valToPos(low, "y", true), u.valToPos(high, "y", true));
    ctx.strokeStyle = style("--soft");
    ctx.setLineDash([3, 3]);
    line(at, bbox.top, bbox.top + bbox.height);
    ctx.restore();
  }

  let made = [];
  function say(at) {
    find("pointed").textContent = steps[at];
    for (const each of made) each.say(at);
  }
  function redraw() {
    for (const [place, { chart }] of made.entries()) {
      for (let at = 1; at < chart.series.length - 1; at += 2) chart.series[at].alpha = half ? 0.35 : 1;
      chart.setData(dataOf(panels[place]));
    }
  }

  function choose(at) {
    chosen = at;
    if (select) show(nearest(rollouts, steps[at]));
    redraw();
    say(at);
  }
  function show([step, question, answer, completions]) {
    select.value = step;
    find("asked").textContent = visible(question);
    find("truth").textContent = visible(answer ?? t`not known`);
    find("rollouts").replaceChildren(...completions.map(([text, score]) => make("article", { className: "reply" },
      make("pre", { dir: "auto", tabIndex: 0, ariaLabel: t`step ${step}`, textContent: visible(text) }),
      make("p", { className: "score", textContent: visible(score) }))));
  }

  moving.hidden = false;
  find("still").hidden = true;
  made = panels.map(panel);
  smoothing.max = Math.max(1, Math.min(51, steps.length / 2));
  smoothing.addEventListener("input", () => {
    half = (smoothing.value - 1) / 2;
    find("window").textContent = smoothing.value;
    redraw();
  });
  select?.append(...rollouts.map(([step]) => make("option", { textContent: step })));
  select?.addEventListener("input", () => choose(steps.indexOf(nearest(steps.map((step) => [step]), Number(select.value))[0])));
  choose(chosen);
  // On paper the plots have no width.
  new ResizeObserver(() => {
    for (const { chart } of made)
      if (width() && width() !== chart.width) chart.setSize({ width: width(), height: chart.height });
  }).observe(find("panels"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
});

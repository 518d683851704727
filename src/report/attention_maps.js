const branches = 1 + Math.max(...data.entries.map((entry) => entry.branch));
const hasMaps = data.entries.some((entry) => entry.map);
const hasHeads = data.entries.some((entry) => entry.heads);
const layers = [...new Set(data.entries.map((entry) => entry.layer))].sort((a, b) => a - b);
const steps = [...new Set(data.entries.map((entry) => entry.step))].sort((a, b) => a - b);
const sentence = (text) => text[0].toUpperCase() + text.slice(1) + ".";

add(main, "h1", {}, "What the enhancement saw");
add(main, "p", {}, sentence(data.summary));
add(main, "p", { class: "quiet" }, data.bounds);
add(main, "p", {}, data.unscaledNames);

let branch = 0;
const redraw = [];
if (branches > 1) {
  const choice = add(add(main, "div", { class: "controls" }), "select", { "aria-label": "branch of guidance" });
  for (let i = 0; i < branches; ++i) add(choice, "option", { value: String(i) }, i === 0 ? "prompt" : "negative prompt");
  choice.onchange = () => {
    branch = Number(choice.value);
    redraw.forEach((draw) => draw());
  };
}
const chosen = () => data.entries.filter((entry) => entry.branch === branch);

// Cells [x, y, value].
function heatMap(cells, xs, ys, [least, most], more = {}) {
  const across = { type: "category", data: xs, nameLocation: "middle", nameGap: 28, splitLine: { show: false } };
  return {
    grid: { left: 60, right: 110, top: 14, bottom: 48 },
    tooltip: { formatter: ({ value }) => `${more.x} ${xs[value[0]]}, ${more.y} ${ys[value[1]]}: ${number(value[2])}` },
    visualMap: { min: least, max: most === least ? least + 1e-9 : most, calculable: false, orient: "vertical", right: 8, top: "middle",
      itemHeight: 140, precision: 4, text: [number(most), number(least)], textStyle: { color: colour("--ink") }, inRange: { color: data.colours } },
    xAxis: axis({ ...across, name: more.x }),
    yAxis: axis({ ...across, data: ys, name: more.y, nameGap: 38, inverse: more.inverse ?? false }),
    series: [{ type: "heatmap", data: cells }],
  };
}

function overSteps(title, key, explanation) {
  add(main, "h2", {}, title);
  add(main, "p", { class: "quiet" }, explanation);
  const box = add(main, "div", { class: "chart" });
  redraw.push(chart(box, Math.min(720, 130 + 16 * Math.max(layers.length, 8)), `${title} over steps and layers`, () => {
    const cells = chosen().map((entry) => [steps.indexOf(entry.step), layers.indexOf(entry.layer), entry[key]]);
    return heatMap(cells, steps, layers, data.scales[key], { x: "step", y: "layer" });
  }));
}

overSteps("Cross-frame intensity", "cfi", "How much a layer's frames look at each other: the mean of its temporal attention map " +
  `off the diagonal. Frames that look at all ${data.tokenFrames} alike have ${number(1 / data.tokenFrames)}.`);
overSteps("Gain", "gain", "What the layer's output was multiplied by: 1 leaves it as it is.");

const weights = steps.map((step) => data.entries.find((entry) => entry.step === step).weight);
if (new Set(weights).size > 1) {
  add(main, "h2", {}, "Weight");
  add(main, "p", { class: "quiet" }, "It followed the video's own CFI.");
  redraw.push(chart(add(main, "div", { class: "chart" }), 200, "weight over steps", () => ({
    grid: { left: 60, right: 20, top: 14, bottom: 44 },
    tooltip: { trigger: "axis" },
    xAxis: axis({ type: "category", data: steps, name: "step", nameLocation: "middle", nameGap: 28 }),
    yAxis: axis({ type: "value" }),
    series: [{ type: "line", data: weights, showSymbol: false, itemStyle: { color: "#3b7dd8" } }],
  })));
}

if (hasHeads) {
  add(main, "h2", {}, "Heads");
  add(main, "p", { class: "quiet" }, "CFI of each head, the mean over steps.");
  const heads = data.entries[0].heads.length;
  const means = () => layers.flatMap((layer, y) => {
    const entries = chosen().filter((entry) => entry.layer === layer);
    return Array.from({ length: heads }, (_, head) =>
      [head, y, entries.reduce((sum, entry) => sum + entry.heads[head], 0) / entries.length]);
  });
  redraw.push(chart(add(main, "div", { class: "chart" }), Math.min(720, 130 + 16 * Math.max(layers.length, 8)), "CFI of heads", () => {
    return heatMap(means(), Array.from({ length: heads }, (_, head) => head), layers, data.scales.heads, { x: "head", y: "layer" });
  }));
}

// Base64 of float16, little endian.
function decodeMap(text) {
  const bytes = atob(text);
  return Float32Array.from({ length: bytes.length / 2 }, (_, i) => {
    const bits = bytes.charCodeAt(2 * i) | (bytes.charCodeAt(2 * i + 1) << 8);
    const exponent = (bits >> 10) & 31, fraction = bits & 1023;
    return exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
  });
}

add(main, "h2", {}, "Temporal attention");
if (!hasMaps) {
  add(main, "p", {}, "This trace has no maps: make one with eav generate --trace FILE --trace-maps.");
} else {
  add(main, "p", { class: "quiet" }, "How much each frame (down) attends to each frame (right): the mean over heads and positions.");
  const frames = Array.from({ length: data.tokenFrames }, (_, t) => t);
  for (const entry of data.entries) entry.values = decodeMap(entry.map);
  const controls = add(main, "div", { class: "controls" });
  const label = add(controls, "label", { for: "step" }, "");
  const slider = add(controls, "input", { id: "step", type: "range", min: "-1", max: String(steps.length - 1), value: "-1" });
  const at = () => Number(slider.value);
  const grid = add(main, "div", { class: "grid" });
  const mapCharts = layers.map((layer) => {
    const box = add(grid, "div", { class: "chart" });
    add(box, "h3", {}, `Layer ${layer}`);
    const caption = document.createElement("p");
    caption.className = "quiet";
    const drawn = chart(box, 300, `temporal attention of layer ${layer}`, () => {
      const entries = chosen().filter((entry) => entry.layer === layer && (at() < 0 || entry.step === steps[at()]));
      const mean = (of) => entries.reduce((sum, entry) => sum + of(entry), 0) / entries.length;
      caption.textContent = entries.length === 0 ? "not enhanced at this step"
        : `CFI ${number(mean((entry) => entry.cfi))}, gain ${number(mean((entry) => entry.gain))}`;
      const cells = entries.length === 0 ? [] : frames.flatMap((row) =>
        frames.map((column) => [column, row, mean((entry) => entry.values[row * frames.length + column])]));
      const options = heatMap(cells, frames, frames, data.scales.map, { x: "to frame", y: "from frame", inverse: true });
      return { ...options, grid: { left: 50, right: 8, top: 6, bottom: 42 }, visualMap: { ...options.visualMap, show: false } };
    }, "canvas");
    box.append(caption);
    return drawn;
  });
  const draw = () => {
    label.textContent = at() < 0 ? "mean over steps" : `step ${steps[at()]}`;
    mapCharts.forEach((drawMap) => drawMap());
  };
  slider.oninput = draw;
  redraw.push(draw);
  draw();
  add(main, "p", { class: "quiet" }, `Dark is 0, bright is ${number(data.scales.map[1])}, the same for all maps.`);
}

const better = { more: "more is better", less: "less is better", neither: "neither more nor less is better" };
const measureOf = Object.fromEntries(data.measures.map((measure) => [measure.name, measure]));
const primary = measureOf[data.primary];
const variantName = (name) => {
  const [enhancement, ...options] = name.split(",");
  return [/^[0-9]/.test(enhancement) ? `weight ${enhancement}` : enhancement, ...options].join(", ");
};

// Whether a difference's interval leaves 0 out, and on which side.
function verdict(contrast) {
  const [low, high] = contrast.interval;
  const { better } = measureOf[contrast.measure];
  if (low <= 0 && high >= 0) return "";
  if (better === "neither") return "";
  return (low > 0) === (better === "more") ? "good" : "bad";
}

add(main, "h1", {}, data.of_options ? "What the variants changed" : "What the enhancement changed");
add(main, "p", { class: "quiet" },
  `${data.prompts.length} prompts, ${data.seeds} ${data.seeds === 1 ? "seed" : "seeds"} each, ${data.pairs.length} pairs from ` +
  `the same noise. ${data.about}`);
add(main, "p", {}, `The primary measure, named before the first video: ${primary.label} (${better[primary.better]}).`);
for (const contrast of data.contrasts.filter((c) => c.measure === data.primary)) {
  const shown = verdict(contrast);
  const words = shown === "good" ? "better" : shown === "bad" ? "worse" : "no difference shown";
  add(main, "p", {}, `${variantName(contrast.variant)} against ${variantName(contrast.baseline)}: `,
    element("strong", { class: shown }, words),
    `; difference ${signed(contrast.difference)}, 95 % interval ${contrast.interval.map(signed).join(" to ")}, ` +
    `better in ${Math.round(100 * contrast.win_rate)} % of pairs, p ${number(contrast.p, 2)}.`);
}

add(main, "h2", {}, "All measures");
add(main, "p", { class: "quiet" },
  "Mean difference of pairs, 95 % interval by the bootstrap over prompts, and how often the first is better. p is by flips of " +
  "signs; that of the other measures is corrected for their number (Holm). Coloured: the interval leaves 0 out.");
const compared = [...new Set(data.contrasts.map((c) => `${c.variant}|${c.baseline}`))];
for (const names of compared) {
  const [variant, baseline] = names.split("|");
  add(main, "h3", {}, `${variantName(variant)} against ${variantName(baseline)}`);
  const table = add(add(main, "div", { class: "scroll" }), "table");
  const head = add(add(table, "thead"), "tr");
  for (const title of ["measure", variantName(baseline), variantName(variant), "difference", "95 % interval", "better in", "p"])
    add(head, "th", {}, title);
  const body = add(table, "tbody");
  for (const contrast of data.contrasts.filter((c) => c.variant === variant && c.baseline === baseline)) {
    const measure = measureOf[contrast.measure];
    const row = add(body, "tr", contrast.measure === data.primary ? { class: "primary" } : {});
    const sign = { more: " ↑", less: " ↓", neither: "" }[measure.better];
    add(row, "td", {}, measure.label + sign);
    add(row, "td", {}, number(contrast.means[1]));
    add(row, "td", {}, number(contrast.means[0]));
    add(row, "td", { class: verdict(contrast) }, signed(contrast.difference));
    add(row, "td", {}, contrast.interval.map(signed).join(" to "));
    add(row, "td", {}, measure.better === "neither" ? "–" : `${Math.round(100 * contrast.win_rate)} %`);
    add(row, "td", {}, number(contrast.corrected_p ?? contrast.p, 2));
  }
}

add(main, "h2", {}, data.of_options ? "By variant" : "Against the weight");
add(main, "p", { class: "quiet" },
  `Differences to ${data.of_options ? "what each is compared with" : "the plain video"}: the mean, and its 95 % interval.`);
const grid = add(main, "div", { class: "grid" });
const variants = data.variants.filter((v) => v.baseline);
// A mean and its interval, at a place on the x axis.
const interval = (params, api) => {
  const low = api.coord([api.value(0), api.value(1)]), high = api.coord([api.value(0), api.value(2)]);
  const style = { stroke: colour("--quiet"), lineWidth: 1.5 };
  const line = (x1, y1, x2, y2) => ({ type: "line", shape: { x1, y1, x2, y2 }, style });
  return { type: "group", children: [line(low[0], low[1], high[0], high[1]),
    line(low[0] - 5, low[1], low[0] + 5, low[1]), line(high[0] - 5, high[1], high[0] + 5, high[1])] };
};
for (const measure of data.measures) {
  const points = variants.map((v) =>
    data.contrasts.find((c) => c.variant === v.name && c.baseline === v.baseline && c.measure === measure.name));
  const box = add(grid, "div", { class: "chart" });
  add(box, "h3", {}, `${measure.label} (${better[measure.better]})`);
  chart(box, 200, `${measure.label} against the weight`, () => ({
    grid: { left: 70, right: 12, top: 14, bottom: 42 },
    xAxis: axis({ type: "category", data: variants.map((v) => v.name), name: data.of_options ? "variant" : "weight",
      nameLocation: "middle", nameGap: 26 }),
    yAxis: axis({ type: "value", axisLabel: { color: colour("--ink"), formatter: (v) => number(v, 3) } }),
    series: [
      { type: "custom", data: points.map((p, i) => [i, ...p.interval]), encode: { x: 0, y: [1, 2] },
        renderItem: interval },
      { type: "scatter", symbolSize: 8, data: points.map((p, i) => [i, p.difference]), itemStyle: { color: "#3b7dd8" },
        markLine: { silent: true, symbol: "none", label: { show: false }, data: [{ yAxis: 0 }],
                    lineStyle: { color: colour("--quiet"), type: "dashed" } } },
    ],
  }));
}

if (data.of_options && data.fidelity.length > 0) {
  add(main, "h2", {}, "Fidelity and time");
  add(main, "p", { class: "quiet" },
    "How near the videos are to those of the variant that each is compared with, from the same prompt and noise: means, their 95 % " +
    "intervals by the bootstrap over prompts, and the worst pair. Equal videos count 100 dB.");
  const byName = Object.fromEntries(data.variants.map((variant) => [variant.name, variant]));
  const table = add(add(main, "div", { class: "scroll" }), "table");
  const head = add(add(table, "thead"), "tr");
  for (const title of ["variant", "against", "evaluations", "seconds in the transformer", "PSNR", "95 % interval", "worst", "SSIM",
                       "95 % interval", "worst"])
    add(head, "th", {}, title);
  const body = add(table, "tbody");
  for (const near of data.fidelity) {
    const row = add(body, "tr"), variant = byName[near.variant], base = byName[near.baseline];
    add(row, "td", {}, variantName(near.variant));
    add(row, "td", {}, variantName(near.baseline));
    add(row, "td", {}, `${number(variant.evaluations, 3)} of ${number(base.evaluations, 3)}`);
    add(row, "td", {}, `${number(variant.seconds, 3)} of ${number(base.seconds, 3)}`);
    for (const [values, digits] of [[near.psnr, 4], [near.ssim, 4]]) {
      add(row, "td", {}, number(values.mean, digits));
      add(row, "td", {}, values.interval.map((value) => number(value, digits)).join(" to "));
      add(row, "td", {}, number(values.worst, digits));
    }
  }
  const box = add(add(main, "div", { class: "grid" }), "div", { class: "chart" });
  add(box, "h3", {}, "PSNR against evaluations of the transformer");
  const points = data.fidelity.filter((near) => near.psnr.mean < 100);
  chart(box, 240, "PSNR against evaluations of the transformer", () => ({
    grid: { left: 60, right: 60, top: 14, bottom: 42 },
    xAxis: axis({ type: "value", name: "evaluations", nameLocation: "middle", nameGap: 26 }),
    yAxis: axis({ type: "value", scale: true, name: "dB" }),
    series: [
      { type: "custom", data: points.map((p) => [byName[p.variant].evaluations, ...p.psnr.interval]), encode: { x: 0, y: [1, 2] },
        renderItem: interval },
      { type: "scatter", symbolSize: 8, data: points.map((p) => [byName[p.variant].evaluations, p.psnr.mean, p.variant]),
        itemStyle: { color: "#3b7dd8" },
        label: { show: true, position: "right", formatter: (p) => p.data[2], color: colour("--ink"), fontSize: 10 } },
    ],
  }));
}

add(main, "h2", {}, "How strongly it was enhanced");
const strengths = add(add(main, "div", { class: "scroll" }), "table");
const strengthHead = add(add(strengths, "thead"), "tr");
for (const title of ["", "mean gain", "mean weight", "seconds in the transformer", "evaluations of it"]) add(strengthHead, "th", {}, title);
const strengthBody = add(strengths, "tbody");
for (const variant of data.variants) {
  const row = add(strengthBody, "tr");
  add(row, "td", {}, variantName(variant.name));
  add(row, "td", {}, number(variant.gain));
  add(row, "td", {}, variant.enhancement === "none" ? "–" : number(variant.weight));
  add(row, "td", {}, number(variant.seconds, 3));
  add(row, "td", {}, variant.evaluations ? number(variant.evaluations, 3) : "–");
}

// Side by side and in step: one of them leads, the others are put to its time.
function players(parent, pair) {
  const box = add(parent, "div", { class: "players" });
  const videos = data.variants.map(({ name }) => {
    const path = data.pairs[pair].videos[name];
    const figure = add(box, "figure");
    const video = add(figure, "video", { src: data.embedded[path] ?? path, muted: true, loop: true, playsInline: true,
      preload: "auto", "aria-label": `${variantName(name)}: ${data.prompts[data.pairs[pair].prompt]}` });
    add(figure, "figcaption", {}, `${variantName(name)}: ${number(data.pairs[pair].primary[name])}`);
    return video;
  });
  const controls = add(parent, "div", { class: "controls" });
  const play = add(controls, "button", { type: "button" }, "Play");
  const place = add(controls, "input", { type: "range", min: "0", max: "1000", value: "0", "aria-label": "place in the video" });
  const lead = videos[0];
  const together = () => {
    for (const video of videos.slice(1))
      if (Math.abs(video.currentTime - lead.currentTime) > 0.06) video.currentTime = lead.currentTime;
    if (lead.duration) place.value = String(Math.round((1000 * lead.currentTime) / lead.duration));
    if (!lead.paused) requestAnimationFrame(together);
  };
  play.onclick = () => {
    const playing = lead.paused;
    for (const video of videos) playing ? video.play() : video.pause();
    play.textContent = playing ? "Pause" : "Play";
    together();
  };
  place.oninput = () => {
    for (const video of videos) video.currentTime = (lead.duration || 0) * (place.value / 1000);
  };
}

add(main, "h2", {}, "The videos");
add(main, "p", { class: "quiet" },
  `By rank of the difference in ${primary.label}, from the worst to the best for ${variantName(data.ranked[0])} against ${variantName(data.ranked[1])}; nobody chose ` +
  "them. Below each is its own value.");
const describe = (rank) => {
  const pair = data.pairs[data.ranking[rank]];
  return `“${data.prompts[pair.prompt]}”, seed ${pair.seed}: difference ${signed(pair.difference)}`;
};
const last = data.ranking.length - 1;
for (const [title, rank] of [["Worst", 0], ["Median", Math.floor(last / 2)], ["Best", last]]) {
  add(main, "h3", {}, `${title} pair`);
  add(main, "p", {}, describe(rank));
  players(main, data.ranking[rank]);
}
add(main, "h3", {}, "Any pair");
const choice = add(add(main, "div", { class: "controls" }), "select", { "aria-label": "pair, from worst to best" });
data.ranking.forEach((pair, rank) => add(choice, "option", { value: String(rank) }, `${rank + 1}. ${describe(rank)}`));
const chosen = add(main, "div");
choice.onchange = () => {
  chosen.textContent = "";
  players(chosen, data.ranking[Number(choice.value)]);
};
choice.onchange();

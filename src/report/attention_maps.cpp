#include "eav/attention_maps.h"

#include <ATen/ops/from_blob.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <opencv2/imgproc.hpp>
#include <vector>

#include "eav/error.h"
#include "eav/trace.h"
#include "report/page.h"
#include "text/base64.h"

namespace eav {
namespace {

using Json = nlohmann::ordered_json;

void check(const Trace& trace) {
  if (!trace.entries.empty()) return;
  throw Error(trace.token_frames == 1 ? "the trace is empty: a single token frame has no other to attend to"
                                      : "the trace is empty: the enhancement was off, or no step and layer was chosen");
}

std::string bounds(const Trace& trace) {
  const auto t = static_cast<double>(trace.token_frames);
  const auto most = std::ranges::max(trace.entries, {}, &TraceEntry::weight).weight;
  return fmt::format(
      "Over {} token frames and with a weight of {:.4g}, a gain lies between 1 and {:.3f}, and leaves 1 "
      "where the CFI exceeds {:.4f}.",
      trace.token_frames, most, (t + most) / (t - 1), 1 / (t + most));
}

// Those whose gain never left 1, such as "3 (above 1.5), 4 (above 2)".
std::string name_unscaled(const Trace& trace) {
  std::string names;
  for (const auto& [layer, cfi, weight] : unscaled_layers(trace))
    names += fmt::format("{}{} (above {:.3g})", names.empty() ? "" : ", ", layer, std::max(weight, 0.0));
  return names.empty() ? "The gain of every layer left 1 at some step."
                       : "Layers whose gain never left 1, and the weight at which it would: " + names + ".";
}

// ---- what the page and the picture share ----------------------------------------------------------------------------

// viridis from its dark end to its bright one, RGB, [256, 1].
cv::Mat3b value_colours() {
  cv::Mat1b ramp(256, 1);
  for (int i = 0; i < ramp.rows; ++i) ramp(i, 0) = static_cast<uint8_t>(i);
  cv::Mat3b colours;
  cv::applyColorMap(ramp, colours, cv::COLORMAP_VIRIDIS);
  cv::cvtColor(colours, colours, cv::COLOR_BGR2RGB);
  return colours;
}

// The values that are drawn darkest and brightest.
struct Scale {
  double least = std::numeric_limits<double>::infinity(), most = -least;

  void cover(double value) {
    least = std::min(least, value);
    most = std::max(most, value);
  }
};

// Each covers all steps, layers and branches, so that pictures of them compare.
struct Scales {
  Scale cfi, gain, heads, map{.least = 0, .most = 0};

  explicit Scales(const Trace& trace) {
    for (const auto& entry : trace.entries) {
      cfi.cover(entry.cfi);
      gain.cover(entry.gain);
      for (const auto head : entry.heads) heads.cover(head);
      for (const auto weight : entry.map) map.cover(weight);
    }
  }
};

}  // namespace

std::string attention_maps_page(const Trace& trace) {
  check(trace);
  Json data{{"tokenFrames", trace.token_frames}, {"steps", trace.steps},    {"layers", trace.layers},
            {"summary", describe(trace)},        {"bounds", bounds(trace)}, {"unscaledNames", name_unscaled(trace)},
            {"unscaled", Json::array()},         {"entries", Json::array()}};
  for (const auto& c : value_colours()) data["colours"].push_back(fmt::format("#{:02x}{:02x}{:02x}", c[0], c[1], c[2]));
  const Scales scales(trace);
  const auto ends = [](const Scale& scale) { return Json::array({scale.least, scale.most}); };
  data["scales"] = {
      {"cfi", ends(scales.cfi)}, {"gain", ends(scales.gain)}, {"heads", ends(scales.heads)}, {"map", ends(scales.map)}};
  for (const auto& [layer, cfi, weight] : unscaled_layers(trace))
    data["unscaled"].push_back({{"layer", layer}, {"cfi", cfi}, {"weight", weight}});
  std::map<std::pair<int64_t, int64_t>, int> seen;  // entries of a step and layer: branches of guidance
  for (const auto& entry : trace.entries) {
    Json one{{"step", entry.step}, {"layer", entry.layer}, {"branch", seen[{entry.step, entry.layer}]++},
             {"cfi", entry.cfi},   {"gain", entry.gain},   {"weight", entry.weight}};
    if (!entry.heads.empty()) one["heads"] = entry.heads;
    if (!entry.map.empty()) one["map"] = half_base64(entry.map);
    data["entries"].push_back(std::move(one));
  }
  return report_page(Report::attention_maps, "What the enhancement saw", data);
}

// ---- the picture ----------------------------------------------------------------------------------------------------

namespace {

constexpr int kWidth = 1200, kMargin = 30, kLine = 22;

// A colour of the page's style, RGB.
cv::Vec3b colour(const std::string& name) {
  const auto [red, green, blue] = page_colour(name);
  return {red, green, blue};
}

void write(cv::Mat3b& page, const std::string& text, cv::Point at, double size, const std::string& ink = "quiet") {
  cv::putText(page, text, at, cv::FONT_HERSHEY_SIMPLEX, size, colour(ink), 1, cv::LINE_AA);
}

// Values as colours, a cell each; where there is none, the colour of an empty chart.
cv::Mat3b coloured(const cv::Mat1d& values, const Scale& scale) {
  const auto colours = value_colours();
  cv::Mat3b result(values.size(), colour("card"));
  for (int y = 0; y < values.rows; ++y)
    for (int x = 0; x < values.cols; ++x) {
      if (std::isnan(values(y, x))) continue;
      const double part = scale.most > scale.least ? (values(y, x) - scale.least) / (scale.most - scale.least) : 0;
      result(y, x) = colours(static_cast<int>(std::lround(part * 255)), 0);
    }
  return result;
}

void place(cv::Mat3b& page, const cv::Mat3b& picture, const cv::Rect& where) {
  cv::Mat3b enlarged;
  cv::resize(picture, enlarged, where.size(), 0, 0, cv::INTER_NEAREST);
  enlarged.copyTo(page(where));
  cv::rectangle(page, where, colour("quiet"));
}

// Steps to the right, layers upwards, with a bar of colours; returns where it ends.
int draw_heat_map(cv::Mat3b& page, const std::string& title, const cv::Mat1d& values, const Scale& scale, int top) {
  constexpr int kLeft = 90, kBar = 130, kHeight = 240;
  const cv::Rect where(kLeft, top + 2 * kLine, kWidth - kLeft - kBar - kMargin, kHeight);
  write(page, title, {kMargin, top + kLine}, 0.6, "ink");
  cv::Mat1d upwards;
  cv::flip(values, upwards, 0);
  place(page, coloured(upwards, scale), where);
  write(page, fmt::format("{}", values.rows - 1), {kLeft - 34, where.y + 12}, 0.45);
  write(page, "layer", {kMargin, where.y + kHeight / 2}, 0.45);
  write(page, "0", {kLeft - 18, where.br().y}, 0.45);
  write(page, "step 0", {where.x, where.br().y + 18}, 0.45);
  write(page, fmt::format("{}", values.cols - 1), {where.br().x - 20, where.br().y + 18}, 0.45);
  cv::Mat3b ramp;
  cv::flip(value_colours(), ramp, 0);
  const cv::Rect bar(where.br().x + 20, where.y, 18, kHeight);
  place(page, ramp, bar);
  write(page, fmt::format("{:.4g}", scale.most), {bar.br().x + 6, bar.y + 12}, 0.45);
  write(page, fmt::format("{:.4g}", scale.least), {bar.br().x + 6, bar.br().y}, 0.45);
  return where.br().y + 2 * kLine;
}

// The mean over branches of a value, by layer and step; NaN where nothing was measured.
cv::Mat1d by_layer_and_step(const Trace& trace, double TraceEntry::*value) {
  const cv::Size size(static_cast<int>(trace.steps), static_cast<int>(trace.layers));
  cv::Mat1d sum = cv::Mat1d::zeros(size), count = cv::Mat1d::zeros(size);
  for (const auto& entry : trace.entries) {
    sum(static_cast<int>(entry.layer), static_cast<int>(entry.step)) += entry.*value;
    count(static_cast<int>(entry.layer), static_cast<int>(entry.step)) += 1;
  }
  cv::Mat1d mean(size);
  for (int y = 0; y < size.height; ++y)
    for (int x = 0; x < size.width; ++x)
      mean(y, x) = count(y, x) > 0 ? sum(y, x) / count(y, x) : std::numeric_limits<double>::quiet_NaN();
  return mean;
}

// Each layer's mean map over steps; none without maps.
std::map<int64_t, cv::Mat1d> mean_maps(const Trace& trace) {
  const auto t = static_cast<int>(trace.token_frames);
  std::map<int64_t, std::pair<cv::Mat1d, int>> sums;
  for (const auto& entry : trace.entries) {
    if (entry.map.empty()) continue;
    auto& [sum, count] = sums[entry.layer];
    if (sum.empty()) sum = cv::Mat1d::zeros(t, t);
    for (int i = 0; i < t * t; ++i) sum(i / t, i % t) += entry.map[static_cast<size_t>(i)];
    ++count;
  }
  std::map<int64_t, cv::Mat1d> maps;
  for (const auto& [layer, sum] : sums) maps[layer] = sum.first / sum.second;
  return maps;
}

}  // namespace

at::Tensor attention_maps_picture(const Trace& trace) {
  check(trace);
  constexpr int kMap = 124, kGap = 16, kMapsInRow = (kWidth - 2 * kMargin + kGap) / (kMap + kGap);
  const auto maps = mean_maps(trace);
  const auto rows = (static_cast<int>(maps.size()) + kMapsInRow - 1) / kMapsInRow;
  const int height = 2 * 330 + 7 * kLine + (maps.empty() ? 0 : 2 * kLine + rows * (kMap + 2 * kLine)) + kMargin;
  cv::Mat3b page(height, kWidth, colour("ground"));
  int top = kMargin;
  write(page, "Enhance-A-Video", {kMargin, top}, 0.8, "ink");
  write(page, describe(trace), {kMargin, top += kLine + 4}, 0.48);
  write(page, bounds(trace), {kMargin, top += kLine}, 0.48);
  auto names = name_unscaled(trace);
  if (names.size() > 130) names = names.substr(0, names.rfind(',', 128)) + ", ...";
  write(page, names, {kMargin, top += kLine}, 0.48);

  const Scales scales(trace);
  top = draw_heat_map(page, "CFI", by_layer_and_step(trace, &TraceEntry::cfi), scales.cfi, top);
  top = draw_heat_map(page, "Gain", by_layer_and_step(trace, &TraceEntry::gain), scales.gain, top);

  if (!maps.empty()) {
    write(page,
          fmt::format("Temporal attention, mean over steps: from each frame (down) to each frame (right), 0 to {:.3g}",
                      scales.map.most),
          {kMargin, top += kLine}, 0.6, "ink");
    int i = 0;
    for (const auto& [layer, map] : maps) {
      const int x = kMargin + i % kMapsInRow * (kMap + kGap), y = top + kLine + i / kMapsInRow * (kMap + 2 * kLine);
      place(page, coloured(map, scales.map), {x, y, kMap, kMap});
      write(page, fmt::format("layer {}", layer), {x, y + kMap + 16}, 0.42);
      ++i;
    }
  }
  return at::from_blob(page.data, {page.rows, page.cols, 3}, at::kByte).clone();
}

}  // namespace eav

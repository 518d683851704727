#include "report/attention_maps.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <opencv2/imgproc.hpp>
#include <vector>

#include "eav/error.h"
#include "enhance/summary.h"
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

}  // namespace

std::string attention_maps_page(const Trace& trace) {
  check(trace);
  Json data{{"tokenFrames", trace.token_frames}, {"steps", trace.steps},    {"layers", trace.layers},
            {"summary", describe(trace)},        {"bounds", bounds(trace)}, {"unscaledNames", name_unscaled(trace)},
            {"unscaled", Json::array()},         {"entries", Json::array()}};
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
const cv::Scalar kInk(30, 30, 30), kQuiet(110, 110, 110);

void write(cv::Mat3b& page, const std::string& text, cv::Point at, double size, const cv::Scalar& colour = kInk) {
  cv::putText(page, text, at, cv::FONT_HERSHEY_SIMPLEX, size, colour, 1, cv::LINE_AA);
}

// Values as colours of viridis, RGB, a cell each; quiet grey where there is none.
cv::Mat3b coloured(const cv::Mat1d& values, double least, double most) {
  cv::Mat1b scaled(values.size());
  for (int y = 0; y < values.rows; ++y)
    for (int x = 0; x < values.cols; ++x) {
      const double part = most > least ? (values(y, x) - least) / (most - least) : 0;
      scaled(y, x) = std::isnan(part) ? uint8_t{0} : cv::saturate_cast<uint8_t>(std::lround(part * 255));
    }
  cv::Mat3b result;
  cv::applyColorMap(scaled, result, cv::COLORMAP_VIRIDIS);
  cv::cvtColor(result, result, cv::COLOR_BGR2RGB);
  for (int y = 0; y < values.rows; ++y)
    for (int x = 0; x < values.cols; ++x)
      if (std::isnan(values(y, x))) result(y, x) = {225, 225, 225};
  return result;
}

void place(cv::Mat3b& page, const cv::Mat3b& picture, const cv::Rect& where) {
  cv::Mat3b enlarged;
  cv::resize(picture, enlarged, where.size(), 0, 0, cv::INTER_NEAREST);
  enlarged.copyTo(page(where));
  cv::rectangle(page, where, kQuiet);
}

// Steps to the right, layers upwards, with a bar of colours; returns where it ends.
int draw_heat_map(cv::Mat3b& page, const std::string& title, const cv::Mat1d& values, double least, double most,
                  int top) {
  constexpr int kLeft = 90, kBar = 130, kHeight = 240;
  const cv::Rect where(kLeft, top + 2 * kLine, kWidth - kLeft - kBar - kMargin, kHeight);
  write(page, title, {kMargin, top + kLine}, 0.6);
  cv::Mat1d upwards;
  cv::flip(values, upwards, 0);
  place(page, coloured(upwards, least, most), where);
  write(page, fmt::format("{}", values.rows - 1), {kLeft - 34, where.y + 12}, 0.45, kQuiet);
  write(page, "layer", {kMargin, where.y + kHeight / 2}, 0.45, kQuiet);
  write(page, "0", {kLeft - 18, where.br().y}, 0.45, kQuiet);
  write(page, "step 0", {where.x, where.br().y + 18}, 0.45, kQuiet);
  write(page, fmt::format("{}", values.cols - 1), {where.br().x - 20, where.br().y + 18}, 0.45, kQuiet);
  cv::Mat1d ramp(256, 1);
  for (int i = 0; i < 256; ++i) ramp(i, 0) = 255 - i;
  const cv::Rect bar(where.br().x + 20, where.y, 18, kHeight);
  place(page, coloured(ramp, 0, 255), bar);
  write(page, fmt::format("{:.4g}", most), {bar.br().x + 6, bar.y + 12}, 0.45, kQuiet);
  write(page, fmt::format("{:.4g}", least), {bar.br().x + 6, bar.br().y}, 0.45, kQuiet);
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
  cv::Mat3b page(height, kWidth, cv::Vec3b(255, 255, 255));
  int top = kMargin;
  write(page, "Enhance-A-Video", {kMargin, top}, 0.8);
  write(page, describe(trace), {kMargin, top += kLine + 4}, 0.48, kQuiet);
  write(page, bounds(trace), {kMargin, top += kLine}, 0.48, kQuiet);
  auto names = name_unscaled(trace);
  if (names.size() > 130) names = names.substr(0, names.rfind(',', 128)) + ", ...";
  write(page, names, {kMargin, top += kLine}, 0.48, kQuiet);

  const auto draw = [&](const std::string& title, double TraceEntry::*value) {
    const auto [least, most] = std::ranges::minmax(trace.entries, {}, value);
    top = draw_heat_map(page, title, by_layer_and_step(trace, value), least.*value, most.*value, top);
  };
  draw("CFI", &TraceEntry::cfi);
  draw("Gain", &TraceEntry::gain);

  if (!maps.empty()) {
    double most = 0;
    for (const auto& [layer, map] : maps) most = std::max(most, *std::ranges::max_element(map));
    write(page,
          fmt::format("Temporal attention, mean over steps: from each frame (down) to each frame (right), 0 to {:.3g}",
                      most),
          {kMargin, top += kLine}, 0.6);
    int i = 0;
    for (const auto& [layer, map] : maps) {
      const int x = kMargin + i % kMapsInRow * (kMap + kGap), y = top + kLine + i / kMapsInRow * (kMap + 2 * kLine);
      place(page, coloured(map, 0, most), {x, y, kMap, kMap});
      write(page, fmt::format("layer {}", layer), {x, y + kMap + 16}, 0.42, kQuiet);
      ++i;
    }
  }
  return at::from_blob(page.data, {page.rows, page.cols, 3}, at::kByte).clone();
}

}  // namespace eav

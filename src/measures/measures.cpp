#include "eav/measures.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <opencv2/imgproc.hpp>
#include <vector>

#include "eav/error.h"
#include "measures/images.h"
#include "measures/motion.h"

namespace eav {
namespace {

constexpr int64_t kLeastSide = 16;
constexpr double kStill = 0.01;  // pixels of motion, below which a video stands still

double square(double x) { return x * x; }

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// Mean and standard deviation of a picture of one channel.
std::pair<double, double> mean_and_deviation(const cv::Mat& picture) {
  cv::Scalar mean, deviation;
  cv::meanStdDev(picture, mean, deviation);
  return {mean[0], deviation[0]};
}

// ---- single frames --------------------------------------------------------------------------------------------------

double laplacian_variance(const cv::Mat1f& grey) {
  cv::Mat1f result;
  cv::Laplacian(grey, result, CV_32F, /*ksize=*/1);
  return square(mean_and_deviation(result).second);
}

double tenengrad(const cv::Mat1f& grey) {
  cv::Mat1f x, y;
  cv::Sobel(grey, x, CV_32F, 1, 0);
  cv::Sobel(grey, y, CV_32F, 0, 1);
  return cv::mean(x.mul(x) + y.mul(y))[0];
}

double colourfulness(const cv::Mat3b& frame) {
  cv::Mat1f channels[3];
  cv::split(cv::Mat3f(frame), channels);
  const auto& [red, green, blue] = channels;
  const auto [mean_rg, deviation_rg] = mean_and_deviation(red - green);
  const auto [mean_yb, deviation_yb] = mean_and_deviation(0.5 * (red + green) - blue);
  return std::hypot(deviation_rg, deviation_yb) + 0.3 * std::hypot(mean_rg, mean_yb);
}

double noise(const cv::Mat1f& grey) {
  const cv::Mat1f mask = (cv::Mat1f(3, 3) << 1, -2, 1, -2, 4, -2, 1, -2, 1);
  cv::Mat1f result;
  cv::filter2D(grey, result, CV_32F, mask);
  const auto within = result(cv::Rect(1, 1, grey.cols - 2, grey.rows - 2));
  return std::sqrt(std::numbers::pi / 2) / 6 * cv::mean(cv::abs(within))[0];
}

// ---- colours of a frame ---------------------------------------------------------------------------------------------

constexpr int kBins = 8;
using Histogram = std::vector<double>;

// Of L*a*b*, whose axes are 0 to 100 and -128 to 128; a pixel belongs to the bins around it in part.
Histogram lab_histogram(const cv::Mat3b& frame) {
  cv::Mat3f lab;
  frame.convertTo(lab, CV_32F, 1.0 / 255);
  cv::cvtColor(lab, lab, cv::COLOR_RGB2Lab);
  Histogram histogram(size_t{kBins} * kBins * kBins, 0);
  for (const auto& pixel : lab) {
    std::array<std::array<double, 2>, 3> part;
    std::array<int, 3> bin;
    for (int c = 0; c < 3; ++c) {
      const double place = c == 0 ? pixel[c] / 100.0 : (pixel[c] + 128.0) / 256;
      const double at = std::clamp(place, 0.0, 1.0) * (kBins - 1);
      bin[c] = std::min(static_cast<int>(at), kBins - 2);
      part[c] = {1 - (at - bin[c]), at - bin[c]};
    }
    for (int i = 0; i < 8; ++i) {
      const int l = i & 1, a = i >> 1 & 1, b = i >> 2;
      histogram[((bin[0] + l) * kBins + bin[1] + a) * kBins + bin[2] + b] += part[0][l] * part[1][a] * part[2][b];
    }
  }
  for (auto& value : histogram) value /= static_cast<double>(frame.total());
  return histogram;
}

double hellinger_distance(const Histogram& p, const Histogram& q) {
  double overlap = 0;
  for (size_t i = 0; i < p.size(); ++i) overlap += std::sqrt(p[i] * q[i]);
  return std::sqrt(std::max(0.0, 1 - overlap));
}

// The mean of the longest 5 %.
double longest(const cv::Mat1f& lengths) {
  std::vector<float> values(lengths.begin(), lengths.end());
  const auto count = std::max<std::ptrdiff_t>(1, std::ssize(values) / 20);
  std::ranges::nth_element(values, values.end() - count);
  return std::accumulate(values.end() - count, values.end(), 0.0) / static_cast<double>(count);
}

void check_size(const at::Tensor& frame) {
  if (frame.size(0) < kLeastSide || frame.size(1) < kLeastSide)
    throw Error(
        fmt::format("frames are {}x{}, expected at least {} pixels a side", frame.size(1), frame.size(0), kLeastSide));
}

template <auto member>
std::optional<double> value(const Measures& measures) {
  return measures.*member;
}

}  // namespace

std::span<const Measure> all_measures() {
  static const std::array<Measure, 11> all{{
      {"temporal_flickering", "temporal flickering", Better::more, 4, value<&Measures::temporal_flickering>},
      {"warping_error", "warping error", Better::less, 6, value<&Measures::warping_error>},
      {"warping_error_to_motion", "warping error to motion", Better::less, 6,
       value<&Measures::warping_error_to_motion>},
      {"dynamic_degree", "dynamic degree", Better::neither, 3, value<&Measures::dynamic_degree>},
      {"temporal_ssim", "temporal SSIM", Better::more, 4, value<&Measures::temporal_ssim>},
      {"subject_drift", "subject drift", Better::less, 4, value<&Measures::subject_drift>},
      {"contrast", "contrast", Better::more, 4, value<&Measures::contrast>},
      {"laplacian_variance", "Laplacian variance", Better::more, 1, value<&Measures::laplacian_variance>},
      {"tenengrad", "Tenengrad", Better::more, 0, value<&Measures::tenengrad>},
      {"colourfulness", "colourfulness", Better::neither, 2, value<&Measures::colourfulness>},
      {"noise", "noise", Better::less, 3, value<&Measures::noise>},
  }};
  return all;
}

const Measure& measure_named(const std::string& name) {
  const auto found = std::ranges::find(all_measures(), name, &Measure::name);
  if (found != all_measures().end()) return *found;
  std::vector<std::string> names;
  for (const auto& measure : all_measures()) names.push_back(measure.name);
  throw Error(fmt::format("'{}' is no measure, expected {}", name, fmt::join(names, ", ")));
}

struct VideoMeter::State {
  // A value for each frame, and for each pair of neighbours.
  std::vector<double> contrasts, laplacians, tenengrads, colourful, noises;
  std::vector<double> differences, errors, motions, dynamics, similar, drifts;
  Histogram first;  // of the first frame
  at::Tensor last;
  cv::Mat1f last_grey;

  void add_pair(const at::Tensor& next, const cv::Mat1f& next_grey) {
    differences.push_back(cv::norm(colours(last), colours(next), cv::NORM_L1) / static_cast<double>(last.numel()));
    const auto motion = motion_between(last_grey, next_grey);
    const auto moved = lengths(motion.there);
    errors.push_back(warping_error(colours(last), colours(next), motion));
    motions.push_back(cv::mean(moved)[0]);
    dynamics.push_back(longest(moved));
    similar.push_back(ssim(last_grey, next_grey));
    drifts.push_back(hellinger_distance(first, lab_histogram(colours(next))));
  }
};

VideoMeter::VideoMeter() : state_(std::make_unique<State>()) {}
VideoMeter::~VideoMeter() = default;

void VideoMeter::add(const at::Tensor& picture) {
  check_size(picture);
  const auto frame = picture.contiguous();
  const auto grey = brightness(frame);
  auto& s = *state_;
  s.contrasts.push_back(mean_and_deviation(grey).second / 255);
  s.laplacians.push_back(laplacian_variance(grey));
  s.tenengrads.push_back(tenengrad(grey));
  s.colourful.push_back(colourfulness(colours(frame)));
  s.noises.push_back(noise(grey));
  s.last.defined() ? s.add_pair(frame, grey) : void(s.first = lab_histogram(colours(frame)));
  s.last = frame;
  s.last_grey = grey;
}

Measures VideoMeter::result() const {
  const auto& s = *state_;
  if (s.differences.empty()) throw Error("a single frame has no neighbours: expected a video of at least 2 frames");
  const auto motion = mean(s.motions);
  Measures result{
      .temporal_flickering = 1 - mean(s.differences) / 255,
      .warping_error = mean(s.errors),
      .warping_error_to_motion = std::nullopt,
      .dynamic_degree = mean(s.dynamics),
      .temporal_ssim = mean(s.similar),
      .subject_drift = mean(s.drifts),
      .contrast = mean(s.contrasts),
      .laplacian_variance = mean(s.laplacians),
      .tenengrad = mean(s.tenengrads),
      .colourfulness = mean(s.colourful),
      .noise = mean(s.noises),
  };
  if (motion >= kStill) result.warping_error_to_motion = result.warping_error / motion;
  return result;
}

Measures measure(const at::Tensor& frames) {
  VideoMeter meter;
  for (const auto& frame : frames.unbind()) meter.add(frame);
  return meter.result();
}

void FidelityMeter::add(const at::Tensor& frame, const at::Tensor& reference) {
  if (frame.sizes() != reference.sizes())
    throw Error(fmt::format("frames of {}x{} against a reference of {}x{}: expected the same size", frame.size(1),
                            frame.size(0), reference.size(1), reference.size(0)));
  check_size(frame);
  const auto a = frame.contiguous(), b = reference.contiguous();
  squares_ += (a.to(at::kFloat) - b.to(at::kFloat)).square().sum(at::kDouble).item<double>();
  colours_ += a.numel();
  similar_.push_back(ssim(brightness(a), brightness(b)));
}

Fidelity FidelityMeter::result() const {
  const double error = squares_ / static_cast<double>(colours_);
  return {error == 0 ? std::numeric_limits<double>::infinity() : 10 * std::log10(255 * 255 / error), mean(similar_)};
}

Fidelity fidelity(const at::Tensor& video, const at::Tensor& reference) {
  if (video.size(0) != reference.size(0))
    throw Error(fmt::format("{} frames against a reference of {}: expected as many", video.size(0), reference.size(0)));
  FidelityMeter meter;
  for (int64_t t = 0; t < video.size(0); ++t) meter.add(video[t], reference[t]);
  return meter.result();
}

}  // namespace eav

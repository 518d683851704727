#include "measures/motion.h"

#include <opencv2/imgproc.hpp>
#include <opencv2/video/tracking.hpp>

namespace eav {
namespace {

cv::Mat2f flow_between(const cv::Mat1f& first, const cv::Mat1f& second) {
  cv::Mat1b a, b;
  first.convertTo(a, CV_8U);
  second.convertTo(b, CV_8U);
  cv::Mat2f flow;
  if (cv::norm(a, b, cv::NORM_INF) == 0)
    return cv::Mat2f::zeros(a.size());  // the method finds up to 0.05 pixels in these
  cv::calcOpticalFlowFarneback(a, b, flow, /*pyr_scale=*/0.5, /*levels=*/5, /*winsize=*/15, /*iterations=*/5,
                               /*poly_n=*/5, /*poly_sigma=*/1.1, /*flags=*/0);
  return flow;
}

// `picture` at the places that the flow leads to; outside lies its border.
template <class Picture>
Picture warped(const Picture& picture, const cv::Mat2f& flow) {
  cv::Mat2f places(flow.size());
  for (int y = 0; y < flow.rows; ++y)
    for (int x = 0; x < flow.cols; ++x)
      places(y, x) = flow(y, x) + cv::Vec2f(static_cast<float>(x), static_cast<float>(y));
  Picture result;
  cv::remap(picture, result, places, cv::noArray(), cv::INTER_LINEAR, cv::BORDER_REPLICATE);
  return result;
}

}  // namespace

Motion motion_between(const cv::Mat1f& first, const cv::Mat1f& second) {
  return {flow_between(first, second), flow_between(second, first)};
}

cv::Mat1f lengths(const cv::Mat2f& flow) {
  cv::Mat1f parts[2], result;
  cv::split(flow, parts);
  cv::magnitude(parts[0], parts[1], result);
  return result;
}

double warping_error(const cv::Mat3b& first, const cv::Mat3b& second, const Motion& motion) {
  const auto back = warped(motion.back, motion.there);
  const auto next = warped(cv::Mat3f(second), motion.there);
  double sum = 0;
  int64_t visible = 0;
  for (int y = 0; y < first.rows; ++y)
    for (int x = 0; x < first.cols; ++x) {
      const auto &there = motion.there(y, x), &again = back(y, x);
      const auto goes_x = static_cast<float>(x) + there[0], goes_y = static_cast<float>(y) + there[1];
      if (goes_x < 0 || goes_y < 0 || goes_x > static_cast<float>(first.cols - 1) ||
          goes_y > static_cast<float>(first.rows - 1))
        continue;
      // Ruder et al. 2016, equation 5: an occluded pixel does not come back to where it was.
      if (cv::norm(there + again, cv::NORM_L2SQR) >
          0.01 * (cv::norm(there, cv::NORM_L2SQR) + cv::norm(again, cv::NORM_L2SQR)) + 0.5)
        continue;
      const auto difference = (cv::Vec3d(next(y, x)) - cv::Vec3d(first(y, x))) / 255;
      sum += cv::norm(difference, cv::NORM_L2SQR) / 3;
      ++visible;
    }
  return visible == 0 ? 0 : sum / static_cast<double>(visible);
}

}  // namespace eav

// Motion between two frames.
#pragma once
#include <opencv2/core.hpp>

namespace eav {

struct Motion {
  cv::Mat2f there, back;  // where each pixel of the first frame goes in the second, and the other way round
};
Motion motion_between(const cv::Mat1f& first, const cv::Mat1f& second);

cv::Mat1f lengths(const cv::Mat2f& flow);

// The mean squared difference between the first frame and the second one warped back, in colours of 0 to 1, where the
// motion there and back agrees.
double warping_error(const cv::Mat3b& first, const cv::Mat3b& second, const Motion& motion);

}  // namespace eav

#include "measures/images.h"

#include <opencv2/imgproc.hpp>

namespace eav {

cv::Mat3b colours(const at::Tensor& frame) {
  return {static_cast<int>(frame.size(0)), static_cast<int>(frame.size(1)),
          reinterpret_cast<cv::Vec3b*>(frame.data_ptr<uint8_t>())};
}

cv::Mat1f brightness(const at::Tensor& frame) {
  cv::Mat3f wide;
  colours(frame).convertTo(wide, CV_32F);
  cv::Mat1f grey;
  cv::cvtColor(wide, grey, cv::COLOR_RGB2GRAY);
  return grey;
}

double ssim(const cv::Mat1f& a, const cv::Mat1f& b) {
  constexpr int kWindow = 11, kEdge = kWindow / 2;
  constexpr double kC1 = 0.01 * 255 * 0.01 * 255, kC2 = 0.03 * 255 * 0.03 * 255;
  const auto mean = [](const cv::Mat1d& x) {  // of each window within the picture
    cv::Mat1d blurred;
    cv::GaussianBlur(x, blurred, {kWindow, kWindow}, 1.5);
    return cv::Mat1d(blurred(cv::Rect(kEdge, kEdge, x.cols - 2 * kEdge, x.rows - 2 * kEdge)));
  };
  const cv::Mat1d x(a), y(b);
  const auto mean_x = mean(x), mean_y = mean(y);
  const cv::Mat1d xx = mean_x.mul(mean_x), yy = mean_y.mul(mean_y), xy = mean_x.mul(mean_y);
  const cv::Mat1d variance_x = mean(x.mul(x)) - xx, variance_y = mean(y.mul(y)) - yy, covariance = mean(x.mul(y)) - xy;
  const cv::Mat1d above = cv::Mat1d(2 * xy + kC1).mul(2 * covariance + kC2),
                  below = cv::Mat1d(xx + yy + kC1).mul(variance_x + variance_y + kC2);
  return cv::mean(above / below)[0];
}

}  // namespace eav

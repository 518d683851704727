// Frames as OpenCV sees them.
#pragma once
#include <ATen/ATen.h>

#include <opencv2/core.hpp>

namespace eav {

// A frame [H, W, 3] uint8 of a contiguous tensor, which must outlive it.
cv::Mat3b colours(const at::Tensor& frame);
// Its brightness, 0 to 255.
cv::Mat1f brightness(const at::Tensor& frame);

// SSIM of two pictures' brightness; see Fidelity in eav/measures.h.
double ssim(const cv::Mat1f& a, const cv::Mat1f& b);

}  // namespace eav

// Who looks on while latents are made.
#pragma once
#include <ATen/ATen.h>

#include <functional>
#include <utility>

namespace eav {
using at::Tensor;

// Called after each step with a function that computes the clean latents which the step predicts.
using Watch = std::function<void(const std::function<Tensor()>& denoised)>;

// The watch of latents that lie in another layout.
inline Watch in_layout(const Watch& watch, std::function<Tensor(const Tensor&)> layout) {
  if (!watch) return {};
  return [watch, layout = std::move(layout)](const std::function<Tensor()>& denoised) {
    watch([&] { return layout(denoised()); });
  };
}

}  // namespace eav

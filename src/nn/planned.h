// Operators of ATen that have no kernel for the tensors of a plan, which have no data (base/meta_memory.h) and get a
// result that has none either; and where data lies that a CPU prepares.
#pragma once
#include <ATen/ATen.h>
#include <ATen/ExpandUtils.h>

#include <optional>

namespace eav {
using at::Tensor;

// Over the last dimension; weight and bias [C].
inline Tensor layer_norm(const Tensor& x, const std::optional<Tensor>& weight, const std::optional<Tensor>& bias,
                         double eps) {
  return x.is_meta() ? at::empty_like(x, at::MemoryFormat::Contiguous)
                     : at::layer_norm(x, {x.size(-1)}, weight, bias, eps);
}

// a where the condition holds, else b.
inline Tensor choose(const Tensor& condition, const Tensor& a, const Tensor& b) {
  if (!a.is_meta()) return at::where(condition, a, b);
  return at::empty(at::infer_size(condition.sizes(), at::infer_size(a.sizes(), b.sizes())), a.options());
}

// A convolution [N, in, H, W] -> [N, out, H/p, W/p] over patches that do not overlap.
inline Tensor conv2d_of_patches(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, int64_t p) {
  if (!x.is_meta()) return at::conv2d(x, weight, bias, p);
  return at::empty({x.size(0), weight.size(0), x.size(2) / p, x.size(3) / p}, x.options());
}

// Where data is prepared for work on a device: the CPU, or nowhere.
inline at::Device host_of(at::Device device) { return device.is_meta() ? device : at::Device(at::kCPU); }
inline Tensor to_host(const Tensor& x) { return x.to(host_of(x.device())); }

// Noise by a CPU's generator, whatever the device that works with it.
inline Tensor draw_noise(at::IntArrayRef shape, const std::optional<at::Generator>& generator,
                         const at::TensorOptions& options) {
  if (options.device().is_meta()) return at::empty(shape, options);
  return at::randn(shape, generator, options.device(at::kCPU)).to(options.device());
}

}  // namespace eav

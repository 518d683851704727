#include "weights/gelu.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "kernels/gelu.h"

namespace eav {
namespace {
constexpr int64_t kGrain = 16384;  // elements that a thread takes at least
}  // namespace

void gelu_tanh_(const at::Tensor& x) {
  if (!x.is_cpu() || x.scalar_type() != at::kFloat || x.dim() != 2 || x.stride(1) != 1) {
    auto result = x;
    at::gelu_(result, "tanh");
    return;
  }
  auto* data = x.mutable_data_ptr<float>();
  const auto channels = x.size(1), stride = x.stride(0);
  at::parallel_for(0, x.size(0), std::max<int64_t>(1, kGrain / channels), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) gelu_tanh_row(data + row * stride, channels);
  });
}

}  // namespace eav

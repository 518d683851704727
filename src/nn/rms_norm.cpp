#include "nn/rms_norm.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "base/meta_memory.h"
#include "kernels/rms_norm.h"

namespace eav {

void rms_norm_silu(const Tensor& x, const Tensor& weight, double eps, const Tensor& out) {
  const auto type = x.scalar_type();
  if (!kernels_take(x) || !kernels_take(out) || out.scalar_type() != type) {
    out.copy_(at::silu(rms_norm(x, weight.to(type), eps)));
    return;
  }
  if (x.is_meta()) return;  // the kernel needs no memory
  const auto w = weight.to(at::kFloat);
  const auto channels = x.size(-1);
  const RmsNormSiluTask task{.channels = channels,
                             .element = *element_of(type),
                             .x = x.const_data_ptr(),
                             .weight = w.const_data_ptr<float>(),
                             .eps = static_cast<float>(eps),
                             .out = out.mutable_data_ptr()};
  constexpr int64_t kElements = 1 << 15;  // enough for a thread to begin with
  at::parallel_for(0, x.numel() / channels, std::max<int64_t>(kElements / channels, 1),
                   [&](int64_t begin, int64_t end) { rms_norm_silu(task, begin, end); });
}

}  // namespace eav

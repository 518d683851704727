#include "enhance/enhancer.h"

#include "enhance/cfi.h"

namespace eav {
namespace {

template <typename T>
std::vector<T> values(const Tensor& tensor) {
  const auto flat = tensor.to(at::kCPU, c10::CppTypeToScalarType<T>::value).contiguous();
  return {flat.template const_data_ptr<T>(), flat.template const_data_ptr<T>() + flat.numel()};
}

}  // namespace

Enhancer::Enhancer(const EnhanceOptions& options, int64_t steps, int64_t layers)
    : options_(options), steps_(steps), layers_(layers) {}

bool Enhancer::active(int64_t layer) const {
  const auto step = static_cast<double>(step_), steps = static_cast<double>(steps_);
  return options_.enabled && options_.start * steps <= step && step < options_.end * steps &&
         options_.layers.contains(layer);
}

Tensor Enhancer::gain(int64_t layer, const Tensor& q, const Tensor& k, Grid grid) {
  token_frames_ = grid.frames;
  // A single frame has no other to look at: the gain is 1.
  if (!active(layer) || grid.frames == 1) return {};
  const auto heads = cfi_per_head(q, k, grid.frames);  // [B, heads]
  const auto measured = heads.mean(at::kDouble).to(at::kFloat);
  const auto map = options_.maps ? attention_map(q, k, grid.frames).mean({0, 1}).to(at::kHalf) : Tensor();  // [T, T]
  measured_.push_back({step_, layer, measured, heads, map});
  return (measured * (static_cast<double>(grid.frames) + *options_.weight)).clamp_min(1).view({1, 1, 1});
}

Trace Enhancer::trace() const {
  Trace trace{token_frames_, options_.weight.value_or(0), steps_, layers_, {}};
  for (const auto& [step, layer, cfi, heads, map] : measured_) {
    const auto value = cfi.item<double>();
    // Repeats the computation of gain() in float32, so that the trace holds the very factor that was applied.
    const auto gain = (cfi * (static_cast<double>(token_frames_) + trace.weight)).clamp_min(1).item<double>();
    trace.entries.push_back({step, layer, value, gain, values<double>(heads.mean(0, false, at::kDouble)),
                             map.defined() ? values<float>(map) : std::vector<float>()});
  }
  return trace;
}

}  // namespace eav

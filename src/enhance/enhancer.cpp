#include "enhance/enhancer.h"

#include <map>
#include <utility>

#include "base/meta_memory.h"
#include "eav/error.h"
#include "enhance/adaptive.h"
#include "enhance/cfi.h"

namespace eav {
namespace {

constexpr int64_t kMostTokenFrames = 1 << 20;  // that a state may speak of

template <typename T>
std::vector<T> values(const Tensor& tensor) {
  const auto flat = tensor.to(at::kCPU, c10::CppTypeToScalarType<T>::value).contiguous();
  return {flat.template const_data_ptr<T>(), flat.template const_data_ptr<T>() + flat.numel()};
}

}  // namespace

Enhancer::Enhancer(const EnhanceOptions& options, int64_t steps, int64_t layers)
    : options_(options), steps_(steps), layers_(layers) {
  if (!options.adaptive) weight_ = options.weight;
}

void Enhancer::begin_step(int64_t step) {
  step_ = step;
  if (!options_.adaptive || measured_.empty()) return;
  const auto last = measured_.back().step;
  // A reused step says nothing new, and its first block alone says too little.
  if (!reused_steps_.empty() && reused_steps_.back() == step - 1) return;
  std::vector<Tensor> cfi;
  for (auto m = measured_.rbegin(); m != measured_.rend() && m->step == last; ++m) cfi.push_back(m->cfi);
  weight_ = adapted_weight(values<double>(at::stack(cfi)), token_frames_, *weight_);
}

bool Enhancer::active(int64_t layer) const {
  const auto step = static_cast<double>(step_), steps = static_cast<double>(steps_);
  return options_.enabled && options_.start * steps <= step && step < options_.end * steps &&
         options_.layers.contains(layer);
}

Gain Enhancer::gain(int64_t layer, const Tensor& q, const Tensor& k, Grid grid) {
  token_frames_ = grid.frames;
  // A single frame has no other to look at: the gain is 1.
  if (!active(layer) || grid.frames == 1) return {};
  if (q.is_meta()) {
    if (!is_for_cpu(q)) cfi_per_head(q, k, grid.frames);  // the kernel for the CPU takes hardly any memory
    return Gain(at::empty({1, 1, 1}, q.options().dtype(at::kFloat)));
  }
  // A CFI that is no number, of attention that is none either, counts as 0: it asks for no gain.
  const auto heads = cfi_per_head(q, k, grid.frames).nan_to_num_(0);  // [B, heads]
  const auto measured = heads.mean(at::kDouble).to(at::kFloat);
  if (!weight_) weight_ = first_adapted_weight(grid.frames);
  const auto map =
      options_.maps ? attention_map(q, k, grid.frames).nan_to_num_(0).mean({0, 1}).to(at::kHalf) : Tensor();  // [T, T]
  measured_.push_back({step_, layer, *weight_, measured, heads.mean(0, false, at::kDouble), map});
  return Gain((measured * scale(*weight_)).clamp_min(1).view({1, 1, 1}));
}

void Enhancer::reuse(int64_t branch, int64_t first_layer) {
  if (reused_steps_.empty() || reused_steps_.back() != step_) reused_steps_.push_back(step_);
  auto source = step_ - 1;  // the last step that was computed whole
  for (auto reused = reused_steps_.rbegin() + 1; reused != reused_steps_.rend() && *reused == source; ++reused)
    --source;
  std::vector<Measured> taken;
  std::map<int64_t, int64_t> branches;  // of each layer, those that were met: they follow one another
  for (const auto& m : measured_)
    if (m.step == source && m.layer >= first_layer && branches[m.layer]++ == branch) taken.push_back(m);
  for (auto& m : taken) {
    m.step = step_;
    m.reused = true;
    measured_.push_back(std::move(m));
  }
}

Trace Enhancer::trace() const {
  const auto first_weight = measured_.empty() ? options_.weight.value_or(0) : measured_[0].weight;
  Trace trace{token_frames_, first_weight, options_.adaptive, steps_, layers_, {}};
  trace.reused_steps = reused_steps_;
  const auto on_cpu = [&](Tensor Measured::* of) -> std::vector<Tensor> {
    if (measured_.empty() || !(measured_[0].*of).defined()) return {};
    std::vector<Tensor> all;
    for (const auto& m : measured_) all.push_back(m.*of);
    return at::stack(all).to(at::kCPU).unbind();  // in one copy: whoever takes one waits for the device
  };
  const auto all_cfi = on_cpu(&Measured::cfi), all_heads = on_cpu(&Measured::heads), maps = on_cpu(&Measured::map);
  for (size_t i = 0; i < measured_.size(); ++i) {
    const auto& m = measured_[i];
    // Repeats the computation of gain() in float32, so that the trace holds the very factor that was applied.
    const auto gain = (all_cfi[i] * scale(m.weight)).clamp_min(1).item<double>();
    trace.entries.push_back({m.step, m.layer, all_cfi[i].item<double>(), gain, m.weight, values<double>(all_heads[i]),
                             maps.empty() ? std::vector<float>() : values<float>(maps[i]), m.reused});
  }
  return trace;
}

SavedState Enhancer::save() const {
  SavedState state{{{"token_frames", at::scalar_tensor(token_frames_, at::kLong)}}};
  if (weight_) state.tensors["weight"] = at::scalar_tensor(*weight_, at::kDouble);
  if (!reused_steps_.empty()) state.tensors["reused_steps"] = at::tensor(reused_steps_, at::kLong);
  if (measured_.empty()) return state;
  std::vector<int64_t> steps, layers, reused;
  std::vector<double> weights;
  std::vector<Tensor> cfi, heads, maps;
  for (const auto& m : measured_) {
    steps.push_back(m.step), layers.push_back(m.layer), weights.push_back(m.weight), reused.push_back(m.reused);
    cfi.push_back(m.cfi), heads.push_back(m.heads);
    if (m.map.defined()) maps.push_back(m.map);
  }
  state.tensors["steps"] = at::tensor(steps, at::kLong);
  state.tensors["layers"] = at::tensor(layers, at::kLong);
  state.tensors["reused"] = at::tensor(reused, at::kLong);
  state.tensors["weights"] = at::tensor(weights, at::kDouble);
  state.tensors["cfi"] = at::stack(cfi);      // [measured]
  state.tensors["heads"] = at::stack(heads);  // [measured, heads]
  if (!maps.empty()) state.tensors["maps"] = at::stack(maps);
  return state;
}

void Enhancer::load(const SavedState& state) {
  token_frames_ = state.whole("token_frames", 0, kMostTokenFrames);
  if (state.tensors.contains("weight")) weight_ = state.like("weight", at::empty({}, at::kDouble)).item<double>();
  measured_.clear();
  reused_steps_.clear();
  if (state.tensors.contains("reused_steps"))
    reused_steps_ =
        values<int64_t>(state.like("reused_steps", at::empty({state.tensor("reused_steps").numel()}, at::kLong)));
  if (!state.tensors.contains("steps")) return;
  const auto count = state.tensor("steps").numel();
  const auto numbers = [&](const char* name, at::ScalarType type) {
    return state.like(name, at::empty({count}, type));
  };
  const auto steps = values<int64_t>(numbers("steps", at::kLong)),
             layers = values<int64_t>(numbers("layers", at::kLong)),
             reused = values<int64_t>(numbers("reused", at::kLong));
  const auto weights = values<double>(numbers("weights", at::kDouble));
  const auto cfi = numbers("cfi", at::kFloat);
  const auto& heads = state.tensor("heads");
  if (heads.dim() != 2) throw Error("the state to go on from has malformed \"heads\"");
  const auto all_heads = state.like("heads", at::empty({count, heads.size(1)}, at::kDouble));
  Tensor maps;
  if (options_.maps) maps = state.like("maps", at::empty({count, token_frames_, token_frames_}, at::kHalf));
  for (int64_t i = 0; i < count; ++i) {
    const auto at = static_cast<size_t>(i);
    measured_.push_back({steps[at], layers[at], weights[at], cfi[i], all_heads[i], maps.defined() ? maps[i] : Tensor(),
                         reused[at] != 0});
  }
}

}  // namespace eav

#include "sampling/step_cache.h"

#include "sampling/caches/easy.h"
#include "sampling/caches/first_block.h"
#include "sampling/caches/mag.h"
#include "sampling/caches/taylor.h"

namespace eav {
namespace {

constexpr int64_t kMostSteps = 1 << 20;  // that a state may speak of

}  // namespace

void StepCache::begin_step(const ModelSteps& of_model, int64_t branches) {
  if (of_model.first != of_model_.first || branches != branches_) {
    tensors_.clear();
    numbers_.clear();
  }
  of_model_ = of_model;
  branches_ = branches;
}

SavedState StepCache::save() const {
  SavedState state{{{"first", at::scalar_tensor(of_model_.first, at::kLong)},
                    {"count", at::scalar_tensor(of_model_.count, at::kLong)},
                    {"branches", at::scalar_tensor(branches_, at::kLong)}}};
  state.add("tensor.", {tensors_});
  for (const auto& [name, number] : numbers_) state.tensors["number." + name] = at::scalar_tensor(number, at::kDouble);
  return state;
}

void StepCache::load(const SavedState& state, at::Device device) {
  of_model_ = {state.whole("first", 0, kMostSteps), state.whole("count", 0, kMostSteps)};
  branches_ = state.whole("branches", 0, 3);
  for (const auto& [name, tensor] : state.part("tensor.").tensors) tensors_[name] = tensor.to(device);
  const auto numbers = state.part("number.");
  for (const auto& [name, tensor] : numbers.tensors)
    numbers_[name] = numbers.like(name, at::empty({}, at::kDouble)).item<double>();
}

std::unique_ptr<StepCache> make_step_cache(const CacheOptions& options) {
  switch (options.kind) {
    case CacheOptions::Kind::none:
      break;
    case CacheOptions::Kind::easy:
      return std::make_unique<EasyCache>(options.threshold, options.first_steps);
    case CacheOptions::Kind::first_block:
      return std::make_unique<FirstBlockCache>(options.threshold);
    case CacheOptions::Kind::mag:
      return std::make_unique<MagCache>(options);
    case CacheOptions::Kind::taylor:
      return std::make_unique<TaylorSeer>(options.interval);
  }
  return nullptr;
}

double mean_change(const Tensor& a, const Tensor& b) { return (a - b).abs().mean().item<double>(); }

void run_blocks(const Tensor& tokens, Step& step, const StepCache::Work& first, const StepCache::Work& rest) {
  if (step.cache != nullptr) return step.cache->blocks(tokens, step, first, rest);
  first();
  rest();
}

}  // namespace eav

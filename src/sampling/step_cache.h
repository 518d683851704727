// Steps that are not computed: what the transformer gave at an earlier step is used again. The caches are in caches/.
#pragma once
#include <ATen/ATen.h>

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "eav/saved_state.h"
#include "enhance/step.h"
#include "sampling/cache_options.h"
#include "weights/blocks.h"

namespace eav {
using at::Tensor;

// The steps that one model runs: all of a video's, or those of one of two experts.
struct ModelSteps {
  int64_t first = 0, count = 1;
};

// Of one sampling run. One decision is made for a step, at its first branch. On the meta device everything is computed,
// so that a plan counts what is kept.
class StepCache {
 public:
  using Work = std::function<void()>;

  virtual ~StepCache() = default;

  // Before the branches of each step. What is kept serves as long as the same model runs the same number of branches.
  void begin_step(const ModelSteps& of_model, int64_t branches);

  // The model's prediction for the latents, of one branch or of a pair: what `compute` gives, or what stands for it.
  virtual Tensor prediction(const Tensor& /*latents*/, Step& /*step*/, const std::function<Tensor()>& compute) {
    return compute();
  }
  // What the transformer's blocks, the first and the rest, make of the video's tokens [B, L, C], in their place.
  virtual void blocks(const Tensor& /*tokens*/, Step& /*step*/, const Work& first, const Work& rest) {
    first();
    rest();
  }

  // What is kept between steps. A state is loaded to the device that the latents are on.
  SavedState save() const;
  void load(const SavedState& state, at::Device device);

 protected:
  // Tensors and numbers that outlast a step, by name; those of a branch, by its number too.
  bool has(const std::string& name) const { return tensors_.contains(name) || numbers_.contains(name); }
  Tensor& tensor(const std::string& name) { return tensors_[name]; }
  double& number(const std::string& name) { return numbers_[name]; }

  // Of the step, among those of its model.
  int64_t index(const Step& step) const { return step.index - of_model_.first; }
  int64_t count() const { return of_model_.count; }

 private:
  ModelSteps of_model_{-1, 0};
  int64_t branches_ = 0;
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, double> numbers_;
};

// Nothing where every step is computed.
std::unique_ptr<StepCache> make_step_cache(const CacheOptions& options);

// Mean of |a - b|.
double mean_change(const Tensor& a, const Tensor& b);

// Runs the blocks of a transformer on the video's tokens [B, L, C], as far as the step's cache wants it.
void run_blocks(const Tensor& tokens, Step& step, const StepCache::Work& first, const StepCache::Work& rest);
template <class Block, class Use>
void run_blocks(const Tensor& tokens, Step& step, const Blocks<Block>& blocks, const Use& use) {
  run_blocks(tokens, step, [&] { blocks.one(0, use); }, [&] { blocks.each(use, 1); });
}

}  // namespace eav

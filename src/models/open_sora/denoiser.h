// Open-Sora's part in the sampling loop, with frames that are given.
#pragma once
#include <ATen/ATen.h>

#include <functional>
#include <optional>

#include "models/open_sora/transformer.h"
#include "sampling/sample.h"
#include "schedulers/rectified_flow.h"

namespace eav::open_sora {

// Frames that are given, wholly or in part.
struct GivenFrames {
  Tensor edited;                  // [T] float32: the part of the steps that changes a frame; 0 keeps it, 1 makes it new
  std::function<Tensor()> noise;  // asked for once a step: shaped as the latents
};

// What the model is told of all clips of a video.
struct Told {
  Transformer::Inputs inputs;  // with the prompt's caption and, where there is guidance, the unconditional half's
  double guidance_scale;
  at::ScalarType compute;
  std::function<bool(const Step&)> guides = {};  // whether there is guidance at a step; unset: at all of them
};

// For latents [1, C, T, H, W] float32.
class OpenSoraDenoiser : public Denoiser {
 public:
  OpenSoraDenoiser(const Transformer& transformer, const RectifiedFlowScheduler& scheduler, const Told& told,
                   const std::optional<GivenFrames>& given);

  // The prompt comes first in the batch.
  Guidance guidance(const Step& step) const override;
  Tensor before_step(const Tensor& latents, const Step& step) override;
  Tensor predict(const Tensor& latents, Step& step) override;
  Tensor after_step(const Tensor& next, const Tensor& input, const Step& step) const override;
  SavedState save() const override;
  void load(const SavedState& state) override;

 private:
  int64_t rows(const Step& step) const {
    return told_.inputs.captions.size() == 2 && (!told_.guides || told_.guides(step)) ? 2 : 1;
  }

  const Transformer& transformer_;
  const RectifiedFlowScheduler& scheduler_;
  const Told& told_;
  const std::optional<GivenFrames>& given_;
  Tensor noised_, changing_;  // [T] bool: frames that are denoised already, and those that this step changes
};

}  // namespace eav::open_sora

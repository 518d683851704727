// From noise to latents: Open-Sora's denoising loop, with frames that are given.
#pragma once
#include <ATen/ATen.h>

#include <functional>
#include <optional>

#include "enhance/enhancer.h"
#include "models/open_sora/transformer.h"
#include "schedulers/rectified_flow.h"

namespace eav::open_sora {

// Frames that are given, wholly or in part.
struct GivenFrames {
  Tensor edited;                  // [T] float32: the part of the steps that changes a frame; 0 keeps it, 1 makes it new
  std::function<Tensor()> noise;  // asked for once a step: shaped as the latents
};

struct Sampling {
  const Transformer& transformer;
  const RectifiedFlowScheduler& scheduler;
  Captions captions;  // embedded: the prompt's and, where there is guidance, the one of the unconditional half
  Transformer::Video video;
  double guidance_scale;
  at::ScalarType compute;

  // latents [1, C, T, H, W] float32, noise but for the frames that are given -> the video's. `after_step(i)` is called
  // when step i is done.
  Tensor operator()(Tensor latents, const std::optional<GivenFrames>& given, Enhancer& enhancer,
                    const Progress& progress, const std::function<void(int64_t)>& after_step) const;
};

}  // namespace eav::open_sora

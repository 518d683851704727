// What denoising begins with: noise, pictures and clips as latents, packed to tokens.
#pragma once
#include <ATen/ATen.h>

#include <vector>

#include "eav/grid.h"

namespace eav::ltx_video {
using at::Tensor;

// The latents of a video, and what a step along each of their axes stands for.
struct LatentSize {
  int64_t channels, frames, height, width;
  int64_t frame_ratio, pixel_ratio;  // video frames, and pixels
  double fps;
  int64_t tokens() const { return frames * height * width; }
  Grid grid() const { return {frames, height * width}; }
  std::vector<int64_t> shape() const { return {1, channels, frames, height, width}; }  // of the latents
};

// [1, C, F, h, w] -> [1, F*h*w, C], and back
Tensor pack(const Tensor& latents);
Tensor unpack(const Tensor& tokens, const LatentSize& size);

// A condition's latents as the VAE encodes it: normal distributions [1, C, F, h, w], on the CPU.
struct EncodedCondition {
  Tensor mean, std;
  int64_t frame_index;  // of the video
  double strength;
};

struct Start {
  Tensor latents;                   // [1, L, C] float32: tokens that only condition, then the video's
  Tensor positions;                 // [L, 3] float32: seconds, and pixels down and to the right
  int64_t conditions = 0;           // tokens that only condition
  std::vector<int64_t> tokens{};    // runs of tokens that are kept equally,
  std::vector<double> strengths{};  // and how much each is kept: 0 is denoised from the first step on, 1 never

  void add_run(int64_t count, double strength);
};

// Text to video (diffusers' LTXPipeline): packed latents; the first `kept_frames` of them stay as they are.
Start start_from_latents(const Tensor& latents, const LatentSize& size, int64_t kept_frames = 0);

// Image to video (LTXImageToVideoPipeline): the first frame is the image's, drawn before the noise.
Start start_from_image(const EncodedCondition& image, const LatentSize& size, at::Generator& generator);

// LTXConditionPipeline: `latents` [1, C, F, h, w], the noise; a condition at frame 0 is blended into them, another
// one's first two latent frames lie before them as tokens of their own.
Start start_from_conditions(Tensor latents, const std::vector<EncodedCondition>& conditions, const LatentSize& size,
                            at::Generator& generator);

}  // namespace eav::ltx_video

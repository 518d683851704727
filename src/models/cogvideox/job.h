// CogVideoX, text to video (diffusers' CogVideoXPipeline).
#pragma once
#include <vector>

#include "models/cogvideox/family.h"
#include "models/job.h"

namespace eav::cogvideox {

struct Encodings {
  Tensor text;  // [B, text_len, text_embed_dim]: the negative prompt's where there is guidance, then the prompt's
};

class Job : public JobOf<Model, Options, Encodings> {
 public:
  Job(std::shared_ptr<Model> model, Options options);

  Grid grid() const override;
  Denoised denoise(Progress& progress, const Saving& saving, const Watch& watch) override;
  Tensor decode(const Denoised& denoised, Progress& progress) const override;
  std::vector<int64_t> sample_shape() const override;
  Tensor decode_sample(const Tensor& latents, Progress& progress) const override;

 private:
  std::unique_ptr<JobOf> copy() const override { return std::make_unique<Job>(*this); }
  Encodings read_encodings(Progress& progress) override;
  Tensor shown(const Tensor& latents) const;  // without padding, [1, C, F, h, w]
  Tensor embed(const std::string& prompt, Progress& progress) const;

  int64_t padding_frames_;             // latent frames of patch_size_t that come first and are dropped before decoding
  std::vector<int64_t> latent_shape_;  // [1, F, C, h, w], padding included
};

}  // namespace eav::cogvideox

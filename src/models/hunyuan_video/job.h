// Videos by HunyuanVideo: two of diffusers' pipelines, from text and from an image.
#pragma once
#include <vector>

#include "models/hunyuan_video/family.h"
#include "models/job.h"
#include "schedulers/flow_match_euler.h"

namespace eav::hunyuan_video {

struct Encodings {
  Transformer::Caption prompt;
  std::optional<Transformer::Caption> negative;  // with true guidance
  Tensor image;                                  // latents [1, C, 1, h, w], scaled; of image to video
};

class HunyuanJob : public JobOf<Model, Options, Encodings> {
 public:
  HunyuanJob(std::shared_ptr<Model> model, Options options);

  Grid grid() const override;
  Denoised denoise(Progress& progress, const Saving& saving, const Watch& watch) override;
  Tensor decode(const Denoised& denoised, Progress& progress) const override;
  std::vector<int64_t> sample_shape() const override;
  Tensor decode_sample(const Tensor& latents, Progress& progress) const override;

 protected:
  // What image to video adds: to what the transformer sees, and to latents before and after steps.
  virtual Tensor first_latents(const Tensor& noise) const { return noise; }
  virtual Tensor model_input(const Tensor& latents) const { return latents; }
  virtual Tensor after_step(const Tensor& latents) const { return latents; }
  virtual int64_t hidden_frames() const { return 0; }  // of the decoded video, at its beginning

  Transformer::Caption caption(const Tensor& text, const std::string& prompt, Progress& progress) const;

  std::vector<int64_t> latent_shape_;  // [1, C, F, h, w]

 private:
  friend class HunyuanDenoiser;
  FlowMatchEulerScheduler schedule() const;
  EnhanceOptions enhancement() const;
};

// HunyuanVideoPipeline.
class TextJob : public HunyuanJob {
 public:
  using HunyuanJob::HunyuanJob;

 private:
  std::unique_ptr<JobOf> copy() const override { return std::make_unique<TextJob>(*this); }
  Encodings read_encodings(Progress& progress) override;
  Tensor embed(const std::string& prompt, Progress& progress) const;  // [1, tokens, text_embed_dim]
};

// HunyuanVideoImageToVideoPipeline. The image is seen as channels beside the latents (latent_concat) or in place of the
// first latent frame (token_replace).
class ImageJob : public HunyuanJob {
 public:
  ImageJob(std::shared_ptr<Model> model, Options options);

  void check_complete() const override;
  Tensor shown_latents(const Tensor& latents) const override;

 private:
  std::unique_ptr<JobOf> copy() const override { return std::make_unique<ImageJob>(*this); }
  Encodings read_encodings(Progress& progress) override;
  // Of a prompt and a picture [H, W, 3], of whose tokens every `interleave`th is kept: [1, tokens, text_embed_dim].
  Tensor embed(const std::string& prompt, const Tensor& picture, int64_t interleave, Progress& progress) const;
  Tensor image_latents(Progress& progress) const;

  Tensor first_latents(const Tensor& noise) const override;
  Tensor model_input(const Tensor& latents) const override;
  Tensor after_step(const Tensor& latents) const override;
  int64_t hidden_frames() const override;

  bool concatenates() const { return model().config.image_condition == ImageCondition::latent_concat; }
};

}  // namespace eav::hunyuan_video

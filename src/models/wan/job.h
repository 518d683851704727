// Videos by Wan: from text, from pictures, and from other videos.
#pragma once
#include <memory>
#include <vector>

#include "models/job.h"
#include "models/wan/family.h"
#include "schedulers/scheduler.h"

namespace eav::wan {

struct Encodings {
  Tensor prompt, negative;  // [1, 512, text_dim]; the second undefined without guidance
  Tensor pictures;   // as the image encoder sees them [pictures, tokens, image_dim]; undefined where there is none
  Tensor condition;  // latents of what the video sets out from, or changes; undefined where it is text alone
};

class WanJob : public JobOf<Model, Options, Encodings> {
 public:
  WanJob(std::shared_ptr<Model> model, Options options);

  Grid grid() const override;
  Denoised denoise(Progress& progress, const Saving& saving, const Watch& watch) override;
  Tensor decode(const Denoised& denoised, Progress& progress) const override;
  std::vector<int64_t> sample_shape() const override;
  Tensor decode_sample(const Tensor& latents, Progress& progress) const override;

 protected:
  // What videos of something else than text do in ways of their own.
  virtual int64_t skipped_steps() const { return 0; }
  virtual void read_conditions(Encodings& /*encodings*/, Progress& /*progress*/) const {}
  virtual Tensor first_latents(const Tensor& noise, const Tensor& /*first_sigma*/) const { return noise; }
  virtual Tensor model_input(const Tensor& latents) const { return latents; }
  // Of tokens, at timesteps [steps] float32: the values are [steps, runs].
  virtual Timesteps timesteps(const Tensor& of_steps) const;
  virtual Tensor shown(const Tensor& latents) const { return latents; }  // what becomes of them at the end

  // Of a video [1, 3, F, H, W] in -1..1.
  Tensor encode_video(const Tensor& video, Progress& progress) const;
  // Frames of a picture, or of a clip, at the video's size [1, 3, F, H, W] in -1..1.
  Tensor frames_of(const Picture& picture, Progress& progress, int64_t most = 1) const;

  std::vector<int64_t> latent_shape_;  // [1, C, F, h, w]

 private:
  friend class WanDenoiser;
  struct Schedule {
    std::unique_ptr<Scheduler> scheduler;
    Tensor first_sigma;  // noise level of the first step
  };
  Encodings read_encodings(Progress& progress) override;
  Schedule schedule() const;
  // Which of two experts each step is for: 1 or 2; empty where there is one.
  std::vector<int64_t> experts(const Scheduler& schedule) const;
  Tensor embed(const std::string& prompt, Progress& progress) const;
};

// From text (WanPipeline).
class TextJob : public WanJob {
 public:
  using WanJob::WanJob;

 private:
  std::unique_ptr<JobOf> copy() const override { return std::make_unique<TextJob>(*this); }
};

// From a picture at the beginning, or one at each end, as channels beside the latents (WanImageToVideoPipeline).
class ImageJob : public WanJob {
 public:
  ImageJob(std::shared_ptr<Model> model, Options options);
  void check_complete() const override;

 private:
  std::unique_ptr<JobOf> copy() const override { return std::make_unique<ImageJob>(*this); }
  void read_conditions(Encodings& encodings, Progress& progress) const override;
  Tensor model_input(const Tensor& latents) const override;
};

// From a picture in place of the first latent frame (WanImageToVideoPipeline with "expand_timesteps").
class FirstFrameJob : public WanJob {
 public:
  FirstFrameJob(std::shared_ptr<Model> model, Options options);

 private:
  std::unique_ptr<JobOf> copy() const override { return std::make_unique<FirstFrameJob>(*this); }
  void read_conditions(Encodings& encodings, Progress& progress) const override;
  Tensor model_input(const Tensor& latents) const override;
  Timesteps timesteps(const Tensor& of_steps) const override;
  Tensor shown(const Tensor& latents) const override { return model_input(latents); }
};

// Another video, changed (WanVideoToVideoPipeline).
class ChangeJob final : public WanJob {
 public:
  ChangeJob(std::shared_ptr<Model> model, Options options);

 private:
  std::unique_ptr<JobOf> copy() const override { return std::make_unique<ChangeJob>(*this); }
  int64_t skipped_steps() const override;
  void read_conditions(Encodings& encodings, Progress& progress) const override;
  Tensor first_latents(const Tensor& noise, const Tensor& first_sigma) const override;
};

}  // namespace eav::wan

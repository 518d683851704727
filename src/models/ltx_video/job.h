// Videos by LTX-Video: two of diffusers' pipelines, which share what lies between a request and its tokens.
#pragma once
#include <vector>

#include "models/job.h"
#include "models/ltx_video/family.h"
#include "models/ltx_video/start.h"
#include "nn/planned.h"
#include "schedulers/flow_match_euler.h"

namespace eav::ltx_video {

struct Encodings {
  Caption caption;                           // where there is guidance, the negative prompt's and the prompt's
  std::vector<EncodedCondition> conditions;  // of pictures and clips
};

class LtxJob : public JobOf<Model, Options, Encodings> {
 public:
  LtxJob(std::shared_ptr<Model> model, Options options);

  Grid grid() const override { return {size_.frames, size_.height * size_.width}; }
  Denoised denoise(Progress& progress, const Saving& saving, const Watch& watch) override;
  Tensor decode(const Denoised& denoised, Progress& progress) const override;
  std::vector<int64_t> sample_shape() const override;
  Tensor decode_sample(const Tensor& latents, Progress& progress) const override;

 protected:
  // What the two pipelines do in ways of their own.
  virtual int64_t caption_tokens() const = 0;
  virtual bool masks_captions() const = 0;  // whether a caption's tokens leave padding out among themselves
  virtual Start start(at::Generator& generator) const = 0;
  virtual std::unique_ptr<Scheduler> scheduler(const Start& start) const = 0;  // of the steps that are run
  virtual Tensor latents_of(const Tensor& tokens) const = 0;  // [1, L, C] -> as the pipeline returns them
  virtual Tensor video_of(const Tensor& latents) const = 0;   // and from there -> [1, C, F, h, w]

  Encodings read_encodings(Progress& progress) override;
  // Of the noise and of all that denoising begins with.
  at::TensorOptions start_options() const {
    return at::TensorOptions(at::kFloat).device(host_of(model().transformer.placement().device));
  }
  Tiles tiles() const { return {.space = asked().tiled(), .time = asked().vae_framewise}; }

  LatentSize size_;

 private:
  // [1, C, F, h, w]; where the decoder takes noise, drawn after all that `after` has drawn
  Tensor decode_video(const Tensor& latents, const at::Generator& after, Progress& progress) const;
  Caption embed(const std::string& prompt, Progress& progress) const;
  EncodedCondition encode_condition(const Picture& picture, Progress& progress) const;
};

// From text, or a picture that stays as it is (LTXPipeline, LTXImageToVideoPipeline). Latents are tokens [1, L, C].
class TextJob : public LtxJob {
 public:
  TextJob(std::shared_ptr<Model> model, Options options);

 private:
  std::unique_ptr<JobOf> copy() const override { return std::make_unique<TextJob>(*this); }
  int64_t caption_tokens() const override { return 128; }
  bool masks_captions() const override { return false; }
  Start start(at::Generator& generator) const override;
  std::unique_ptr<Scheduler> scheduler(const Start& start) const override;
  Tensor latents_of(const Tensor& tokens) const override { return tokens; }
  Tensor video_of(const Tensor& latents) const override { return unpack(latents, size_); }
  FlowMatchEulerScheduler schedule() const;
};

// With pictures and clips anywhere in the video (LTXConditionPipeline). Latents are [1, C, F, h, w].
class ConditionJob : public LtxJob {
 public:
  ConditionJob(std::shared_ptr<Model> model, Options options);

 private:
  std::unique_ptr<JobOf> copy() const override { return std::make_unique<ConditionJob>(*this); }
  int64_t caption_tokens() const override { return 256; }
  bool masks_captions() const override { return true; }
  Start start(at::Generator& generator) const override;
  std::unique_ptr<Scheduler> scheduler(const Start& start) const override;
  Tensor latents_of(const Tensor& tokens) const override { return unpack(tokens, size_); }
  Tensor video_of(const Tensor& latents) const override { return latents; }
  FlowMatchEulerScheduler schedule() const;
  std::vector<int64_t> latents_shape() const { return {1, size_.channels, size_.frames, size_.height, size_.width}; }
};

}  // namespace eav::ltx_video

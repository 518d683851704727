// Videos by LTX-Video: two of diffusers' pipelines, which share what lies between a request and its tokens.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "models/job.h"
#include "models/ltx_video/family.h"
#include "models/ltx_video/start.h"
#include "nn/planned.h"
#include "sampling/sample.h"
#include "schedulers/flow_match_euler.h"

namespace eav::ltx_video {

struct Encodings {
  Caption caption;  // where there is guidance, the negative prompt's and the prompt's
  std::vector<std::vector<EncodedCondition>> conditions;  // of pictures and clips, at the size of each pass
};

class LtxJob : public JobOf<Model, Options, Encodings> {
 public:
  // `scale` tells how large its pictures are made of those that are asked for.
  LtxJob(std::shared_ptr<Model> model, Options options, double scale = 1);

  Grid grid() const override { return sizes().back().grid(); }
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

  virtual std::vector<LatentSize> sizes() const { return {size_}; }  // of each pass

  Encodings read_encodings(Progress& progress) override;
  // Runs a schedule's steps: tokens of a video of this size, [1, L, C].
  Tensor run(const Start& begin, Scheduler& schedule, const LatentSize& size, SamplingContext context) const;
  // [1, C, F, h, w] -> [1, 3, frames, H, W]; where the decoder takes noise, drawn after all that `after` has drawn
  Tensor decode_video(const Tensor& latents, const at::Generator& after, Progress& progress) const;
  // Of the noise and of all that denoising begins with.
  at::TensorOptions start_options() const {
    return at::TensorOptions(at::kFloat).device(host_of(model().transformer.placement().device));
  }
  Tiles tiles() const { return {.space = asked().tiled(), .time = asked().vae_framewise}; }

  LatentSize size_;

 private:
  Caption embed(const std::string& prompt, Progress& progress) const;
  EncodedCondition encode_condition(const Picture& picture, const LatentSize& size, Progress& progress) const;
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
  ConditionJob(std::shared_ptr<Model> model, Options options, double scale = 1);

 protected:
  Start start(at::Generator& generator) const override;
  // A pass that sets out from noise or, where there are any, from latents [1, C, F, h, w] with the schedule's noise.
  Start start_from(const std::optional<Tensor>& latents, const FlowMatchEulerScheduler& schedule, size_t pass,
                   at::Generator& generator) const;
  FlowMatchEulerScheduler schedule() const;
  std::unique_ptr<Scheduler> scheduler(const Start& start) const override;

 private:
  std::unique_ptr<JobOf> copy() const override { return std::make_unique<ConditionJob>(*this); }
  int64_t caption_tokens() const override { return 256; }
  bool masks_captions() const override { return true; }
  Tensor latents_of(const Tensor& tokens) const override { return unpack(tokens, size_); }
  Tensor video_of(const Tensor& latents) const override { return latents; }
};

// In two passes, beside a latent upsampler (the release's LTXMultiScalePipeline; diffusers' LTXConditionPipeline,
// LTXLatentUpsamplePipeline and LTXConditionPipeline again): a video of about two thirds of the size, whose latents are
// made twice as large and denoised from a lower noise level on. The frames are brought to the size that is asked for.
class TwoPassJob : public ConditionJob {
 public:
  TwoPassJob(std::shared_ptr<Model> model, Options options);

  Denoised denoise(Progress& progress, const Saving& saving, const Watch& watch) override;
  Tensor decode(const Denoised& denoised, Progress& progress) const override;

 private:
  std::unique_ptr<JobOf> copy() const override { return std::make_unique<TwoPassJob>(*this); }
  std::vector<LatentSize> sizes() const override;
  FlowMatchEulerScheduler second_schedule() const;
  Tensor upsample(const Tensor& latents, const Progress& progress) const;  // [1, C, F, h, w] -> [1, C, F, 2h, 2w]
};

}  // namespace eav::ltx_video

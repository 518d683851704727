// One video to be made by a family's model: a request, worked out against a checkpoint.
#pragma once
#include <ATen/ATen.h>

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "eav/generator.h"
#include "eav/saved_state.h"
#include "models/media.h"
#include "options/common.h"
#include "sampling/watch.h"
#include "weights/part.h"

namespace eav {
using at::Tensor;

// The phases of a video follow one another; each has parts of its own in memory.
enum class Phase { text_encoder, transformer, vae };
inline constexpr std::array kPhases{Phase::text_encoder, Phase::transformer, Phase::vae};

// Latent frames that VideoJob::decode_sample takes, of a video that has so many.
inline constexpr int64_t kSampleFrames = 3;

// Latents after the last step, and what making them leaves behind.
struct Denoised {
  Tensor latents;           // in the family's own layout
  at::Generator generator;  // as sampling left it: a decoder that draws noise goes on from there
  Trace trace;
};

// Opening a request is parsing it: what does not work throws, and sizes, schedule, conditions and settings are plain
// values from then on. encode(), denoise() and decode() follow one another; each opens the parts that it needs.
class VideoJob {
 public:
  virtual ~VideoJob() = default;

  // What every family has, resolved.
  virtual const CommonOptions& options() const = 0;
  // Says whether the VAE decodes in tiles, where the options leave it open.
  virtual void choose_tiling(VaeTiling tiling) = 0;
  virtual void set_cache(CacheOptions cache) = 0;
  // Throws eav::Error when the request, which suffices for a plan, lacks what a video needs: an image to set out from.
  virtual void check_complete() const {}

  virtual VideoSize video_size() const { return {options().frames, options().height, options().width}; }
  virtual Grid grid() const = 0;

  // Reads prompts and conditions with the encoders, once for all jobs that share the result.
  virtual void encode(Progress& progress) = 0;
  // Takes the encodings of a job of the same checkpoint that differs in seed and enhancement alone.
  virtual void share_encodings(const VideoJob& other) = 0;
  // Goes on from a state, where `saving` has one. Who watches sees the latents of what the video shows [1, C, F, h, w].
  virtual Denoised denoise(Progress& progress, const Saving& saving, const Watch& watch) = 0;
  // Of the latents, those whose frames the video shows.
  virtual Tensor shown_latents(const Tensor& latents) const { return latents; }
  // -> [frames, height, width, 3] uint8 on the CPU.
  virtual Tensor decode(const Denoised& denoised, Progress& progress) const = 0;

  // The shape [1, C, F, h, w] of some latent frames of a video, as who watches sees them, and what the VAE makes of
  // such latents, of this or a smaller height and width -> [1, 3, frames, H, W], about -1..1.
  virtual std::vector<int64_t> sample_shape() const = 0;
  virtual Tensor decode_sample(const Tensor& latents, Progress& progress) const = 0;

  // The parts that work in a phase.
  virtual std::vector<PartFiles*> parts(Phase phase) = 0;
  // A copy whose tensors have no data: its phases compute nothing, and what they would take can be counted
  // (pipeline/memory.h). A prompt takes all the tokens that there are for one.
  virtual std::unique_ptr<VideoJob> rehearsal(Placement placement) const = 0;
};

// A job with its family's Options, its Model (the parts of a checkpoint) and its Encodings, a struct with names.
template <class Model, class Options, class Encodings>
class JobOf : public VideoJob {
 public:
  JobOf(std::shared_ptr<Model> model, Options options) : model_(std::move(model)), options_(std::move(options)) {}

  const CommonOptions& options() const override { return options_; }
  void choose_tiling(VaeTiling tiling) override { options_.choose_tiling(tiling); }
  void set_cache(CacheOptions cache) override { options_.set_cache(std::move(cache)); }
  void encode(Progress& progress) override {
    if (!encodings_) encodings_ = std::make_shared<const Encodings>(read_encodings(progress));
  }
  void share_encodings(const VideoJob& other) override { encodings_ = dynamic_cast<const JobOf&>(other).encodings_; }

  std::vector<PartFiles*> parts(Phase phase) override { return model_->parts(phase); }
  std::unique_ptr<VideoJob> rehearsal(Placement placement) const override {
    auto other = copy();
    other->model_ = std::make_shared<Model>(*model_);
    placement.device = at::kMeta;
    for (const auto phase : kPhases)
      for (auto* part : other->parts(phase)) part->place(placement);
    other->encodings_.reset();
    other->options_.guide_always();
    other->forget_pictures();
    return other;
  }

 protected:
  virtual std::unique_ptr<JobOf> copy() const = 0;
  virtual Encodings read_encodings(Progress& progress) = 0;
  // Of the pictures, which are encoded, only the sizes are kept.
  void forget_pictures() {
    for (auto& picture : pictures_) picture.frames = picture.frames.to(at::kMeta);
  }

  std::vector<Picture> pictures_;  // the conditions

  const Model& model() const { return *model_; }
  const Options& asked() const { return options_; }
  const Encodings& encodings() const { return *encodings_; }

 private:
  std::shared_ptr<Model> model_;
  Options options_;
  std::shared_ptr<const Encodings> encodings_;  // after encode()
};

}  // namespace eav

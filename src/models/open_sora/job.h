// Videos by Open-Sora, from text, images and videos (hpcaitech/Open-Sora, scripts/inference.py).
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <string>
#include <vector>

#include "models/job.h"
#include "models/open_sora/family.h"

namespace eav::open_sora {

struct Encodings {
  Tensor caption;                  // [tokens, channels]
  std::vector<Tensor> conditions;  // latents of each [1, C, f, h, w]
};

class Job : public JobOf<Model, Options, Encodings> {
 public:
  Job(std::shared_ptr<Model> model, Options options);

  VideoSize video_size() const override;
  Grid grid() const override;
  // The latents of all clips, one after another: [1, C, clips * F, h, w].
  Denoised denoise(Progress& progress, const Saving& saving, const Watch& watch) override;
  Tensor decode(const Denoised& denoised, Progress& progress) const override;
  std::vector<int64_t> sample_shape() const override;
  Tensor decode_sample(const Tensor& latents, Progress& progress) const override;

 private:
  // What a clip begins with: noise and, at their places, frames that it is given.
  struct Given {
    Tensor latents;  // [1, C, F, h, w] float32
    Tensor edited;   // [F] float32: 0 keeps a frame, 1 makes it new
    void put(const Tensor& frames, int64_t first, double strength);
  };
  // Nothing where no frame is given.
  std::optional<Given> given(int64_t clip, const Tensor& end_before, const Tensor& noise) const;
  // The last latents of a clip, as they are when its end is decoded and encoded again.
  Tensor encode_end(const Tensor& clip, Progress& progress) const;

  std::unique_ptr<JobOf> copy() const override { return std::make_unique<Job>(*this); }
  Encodings read_encodings(Progress& progress) override;
  Tensor embed(Progress& progress) const;
  Tensor encode_condition(const Picture& picture, Progress& progress) const;
  int64_t sample_frames() const;  // of a sample: a batch
  void check_loop() const;
  void check_conditions() const;

  std::vector<int64_t> latents_shape_;  // of a clip, [1, C, F, h, w]
};

}  // namespace eav::open_sora

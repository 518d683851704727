// Videos of pictures and of other videos.
#include <fmt/format.h>

#include <algorithm>

#include "models/wan/job.h"
#include "nn/planned.h"

namespace eav::wan {
namespace {

bool is_at_end(const Condition& condition) { return condition.frame_index == -1; }

void check_whole(const Condition& condition) {
  if (condition.strength.value_or(1) != 1 || (condition.frame_index.value_or(0) != 0 && !is_at_end(condition)))
    throw Error("conditions",
                "Wan keeps pictures whole, where a video begins or ends: leave frame index and strength "
                "out, and give the last one with `last_image`");
}

}  // namespace

// ---- with pictures as channels beside the latents -------------------------------------------------------------------

ImageJob::ImageJob(std::shared_ptr<Model> opened, Options options) : WanJob(std::move(opened), std::move(options)) {
  const auto& o = asked();
  int64_t begins = 0, ends = 0;
  for (const auto& condition : o.conditions) {
    if (condition.is_video)
      throw Error("conditions", "this Wan makes a video of pictures: give an `image`, no `video`");
    check_whole(condition);
    (is_at_end(condition) ? ends : begins)++;
  }
  if (ends > 0 && !model().takes_last_image())
    throw Error("conditions",
                "this Wan takes a picture at the beginning alone: `last_image` is for FLF2V and for A14B from images");
  if (begins > 1 || ends > 1)
    throw Error("conditions", "a video begins with one `image`, and ends with one `last_image`: leave the others out");
  if (ends > 0 && o.frames == 1)
    throw Error("conditions", "a single frame has no end: leave `last_image` out, or give more `frames`");
  if (model().needs_last_image() && o.frames == 1)
    throw Error("frames", "frames is 1, expected at least 5: this Wan makes a video between two pictures");
  pictures_ = model().pictures.read(o.conditions, 1);
  // Enough for a plan, see check_complete().
  const auto blank = at::empty({1, o.height, o.width, 3}, at::TensorOptions(at::kByte).device(at::kMeta));
  if (begins == 0) pictures_.push_back({{}, blank});
  if (ends == 0 && model().needs_last_image()) pictures_.push_back({{.file = {}, .frame_index = -1}, blank});
  std::ranges::stable_sort(pictures_, {}, [](const Picture& p) { return is_at_end(p.condition); });
}

void ImageJob::check_complete() const {
  const auto& conditions = asked().conditions;
  if (std::ranges::all_of(conditions, is_at_end))
    throw Error("conditions", "this Wan makes a video of an image: give one with `image`");
  if (model().needs_last_image() && std::ranges::none_of(conditions, is_at_end))
    throw Error("conditions", "this Wan makes a video between two pictures: give the last one with `last_image`");
}

void ImageJob::read_conditions(Encodings& encodings, Progress& progress) const {
  if (const auto& image = model().image) {
    const auto& where = image->encoder.placement();
    std::vector<Tensor> seen;
    for (const auto& picture : pictures_) {  // as they are: the processor cuts out their middle
      const auto pixels = image->processor(picture.frames[0].to(host_of(where.device)));
      seen.push_back((*image->encoder)(pixels.to(where.device, where.compute), progress));
    }
    const auto& to = model().transformer.placement();
    encodings.pictures = at::cat(seen).to(to.device, to.compute);
  }
  // A video of the pictures and nothing between them, and which of its frames they are.
  const auto video = at::zeros({1, 3, asked().frames, asked().height, asked().width},
                               at::TensorOptions(at::kFloat).device(host_of(model().vae_encoder.placement().device)));
  const auto shape = latent_shape_;
  const auto mask = at::zeros({1, model().vae_config.temporal_compression(), shape[2], shape[3], shape[4]},
                              at::TensorOptions(at::kFloat).device(model().transformer.placement().device));
  for (const auto& picture : pictures_) {
    const bool last = is_at_end(picture.condition);
    video.narrow(2, last ? asked().frames - 1 : 0, 1).copy_(frames_of(picture, progress));
    // The first latent frame is one frame of the video; of the last, that is the last of several.
    last ? mask.select(2, -1).select(1, -1).fill_(1) : mask.select(2, 0).fill_(1);
  }
  encodings.condition = at::cat({mask, encode_video(video, progress)}, 1);  // [1, 4 + C, F, h, w]
}

Tensor ImageJob::model_input(const Tensor& latents) const { return at::cat({latents, encodings().condition}, 1); }

// ---- with a picture in place of the first latent frame --------------------------------------------------------------

FirstFrameJob::FirstFrameJob(std::shared_ptr<Model> opened, Options options)
    : WanJob(std::move(opened), std::move(options)) {
  const auto& conditions = asked().conditions;
  if (conditions.size() > 1 || conditions[0].is_video || is_at_end(conditions[0]))
    throw Error("conditions",
                "this Wan makes a video of text or of one `image` at its beginning: leave the other pictures and "
                "videos out");
  check_whole(conditions[0]);
  pictures_ = model().pictures.read(conditions, 1);
}

void FirstFrameJob::read_conditions(Encodings& encodings, Progress& progress) const {
  encodings.condition = encode_video(frames_of(pictures_[0], progress), progress);  // [1, C, 1, h, w]
}

Tensor FirstFrameJob::model_input(const Tensor& latents) const {
  return at::cat({encodings().condition, latents.slice(2, 1)}, 2);
}

Timesteps FirstFrameJob::timesteps(const Tensor& of_steps) const {
  const auto [frames, positions] = grid();
  const auto of_picture = at::zeros_like(of_steps);
  if (frames == 1) return {of_picture.unsqueeze(1), {positions}};
  return {at::stack({of_picture, of_steps}, 1), {positions, (frames - 1) * positions}};
}

// ---- of another video -----------------------------------------------------------------------------------------------

ChangeJob::ChangeJob(std::shared_ptr<Model> opened, Options options) : WanJob(std::move(opened), std::move(options)) {
  const auto& o = asked();
  if (o.conditions.size() > 1 || !o.conditions[0].is_video)
    throw Error("conditions", "this Wan makes a video of text or of one `video`: leave pictures and others out");
  check_whole(o.conditions[0]);
  pictures_ = model().pictures.read(o.conditions, o.frames);
  if (const auto frames = pictures_[0].frames.size(0); frames < o.frames)
    throw Error("frames",
                fmt::format("frames is {}, but '{}' has {}", o.frames, o.conditions[0].file.string(), frames));
  skipped_steps();
}

int64_t ChangeJob::skipped_steps() const {
  const auto steps = asked().steps;
  const auto run = static_cast<int64_t>(static_cast<double>(steps) * *asked().denoise_strength);
  if (run == 0)
    throw Error("denoise_strength",
                fmt::format("a denoise strength of {} leaves none of {} steps", *asked().denoise_strength, steps));
  return steps - run;
}

void ChangeJob::read_conditions(Encodings& encodings, Progress& progress) const {
  encodings.condition = encode_video(frames_of(pictures_[0], progress, asked().frames), progress);
}

Tensor ChangeJob::first_latents(const Tensor& noise, const Tensor& first_sigma) const {
  return (1 - first_sigma) * encodings().condition + first_sigma * noise;
}

}  // namespace eav::wan

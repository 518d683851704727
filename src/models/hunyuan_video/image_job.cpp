#include <fmt/format.h>

#include "models/hunyuan_video/image_prompt.h"
#include "models/hunyuan_video/job.h"
#include "models/hunyuan_video/text_prompt.h"
#include "nn/planned.h"
#include "text/prompt.h"

namespace eav::hunyuan_video {
namespace {

constexpr double kStartNoise = 0.999;       // of the latents that an image's video begins with; the rest is the image
constexpr int64_t kNegativeInterleave = 2;  // of the black picture's tokens, every second is kept

// Every n-th token of the picture is kept.
int64_t interleave(const TransformerConfig& config) {
  return config.image_condition == ImageCondition::latent_concat ? 2 : 4;
}

}  // namespace

ImageJob::ImageJob(std::shared_ptr<Model> opened, Options options) : HunyuanJob(std::move(opened), std::move(options)) {
  const auto& o = asked();
  for (const auto& prompt : {o.prompt, o.negative_prompt.value_or("")}) check_image_prompt(prompt);
  const auto ratio = model().vae_config.temporal_compression_ratio;
  if (concatenates() && o.frames <= ratio)
    throw Error("frames",
                fmt::format("frames is {}, expected at least {}: this model's first {} show the image and are left out",
                            o.frames, ratio + 1, ratio));
  if (o.conditions.empty()) {  // enough for a plan, see check_complete()
    pictures_ = {{{}, at::empty({1, o.height, o.width, 3}, at::TensorOptions(at::kByte).device(at::kMeta))}};
    return;
  }
  pictures_ = model().image->pictures.read(o.conditions, 1);
  if (o.conditions.size() > 1 || o.conditions[0].is_video)
    throw Error("conditions", "this HunyuanVideo takes a single image to set out from: give one `image`");
  if (o.conditions[0].frame_index.value_or(0) != 0 || o.conditions[0].strength.value_or(1) != 1)
    throw Error("conditions",
                "this HunyuanVideo sets out from an image at its beginning: leave frame index and strength out");
}

void ImageJob::check_complete() const {
  if (asked().conditions.empty())
    throw Error("conditions", "this HunyuanVideo makes a video of an image: give one with `image`");
}

Tensor ImageJob::embed(const std::string& prompt, const Tensor& picture, int64_t interleave, Progress& progress) const {
  const auto& image = *model().image;
  const auto& where = image.llava.placement();
  const auto pixels = image.processor(picture.to(host_of(where.device))).to(where.device, where.compute);
  if (where.device.is_meta())
    return (*image.llava)(all_tokens(image_prompt_tokens()), pixels, progress)
        .slice(1, 0, kImageTokens / interleave + kPromptTokens);
  const auto tokens = image_prompt(*model().llama_tokenizer, prompt, image.llava->image_token, interleave,
                                   model().layout.tokenizer.string());
  warn_of_cut(tokens.cut, kPromptTokens, progress);
  return (*image.llava)(tokens.ids.to(where.device), pixels, progress).index_select(1, tokens.kept.to(where.device));
}

Encodings ImageJob::read_encodings(Progress& progress) {
  const auto& o = asked();
  const auto picture = pictures_[0].frames[0];  // as it is: the vision tower cuts out its middle
  Encodings encodings{
      caption(embed(o.prompt, picture, interleave(model().config), progress), o.prompt, progress), std::nullopt, {}};
  if (o.truly_guided()) {
    const auto black = at::zeros({o.height, o.width, 3}, at::kByte);
    const auto& negative = *o.negative_prompt;
    encodings.negative = caption(embed(negative, black, kNegativeInterleave, progress), negative, progress);
  }
  encodings.image = image_latents(progress);
  forget_pictures();
  return encodings;
}

Tensor ImageJob::image_latents(Progress& progress) const {
  progress.phase("vae encoder");
  const auto& where = model().vae_encoder.placement();
  const auto picture = to_video(fit(pictures_[0], asked().height, asked().width, asked().image_fit, progress, 1));
  const auto encoded = (*model().vae_encoder)(picture.to(where.device, where.compute), asked().tiled(), progress);
  return encoded.to(at::kFloat) * model().vae_config.scaling_factor;
}

Tensor ImageJob::first_latents(const Tensor& latents) const {
  const auto noise = at::full({1}, kStartNoise, latents.options());
  return latents * noise + encodings().image * (1 - noise);
}

Tensor ImageJob::model_input(const Tensor& latents) const {
  const auto others = latents.slice(2, 1);
  if (!concatenates()) return at::cat({encodings().image, others}, 2);
  const auto shown = at::cat({encodings().image, at::zeros_like(others)}, 2);
  auto mask = at::zeros_like(latents.slice(1, 0, 1));  // [1, 1, F, h, w] of the frames that the image shows
  mask.select(2, 0).fill_(1);
  return at::cat({latents, shown, mask}, 1);
}

// Where the image is the first latent frame, the others alone are denoised.
Tensor ImageJob::after_step(const Tensor& latents) const {
  return concatenates() ? latents : at::cat({encodings().image, latents.slice(2, 1)}, 2);
}

// Beside a concatenated image, the first latent frame shows that image again: it is not part of the video.
Tensor ImageJob::shown_latents(const Tensor& latents) const {
  return concatenates() ? latents.slice(2, 1).contiguous() : latents;
}

int64_t ImageJob::hidden_frames() const { return concatenates() ? model().vae_config.temporal_compression_ratio : 0; }

}  // namespace eav::hunyuan_video

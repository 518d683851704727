// HunyuanVideo, text to video and image to video (diffusers' HunyuanVideoPipeline, HunyuanVideoImageToVideoPipeline).
#pragma once
#include <filesystem>
#include <optional>

#include "models/clip_image.h"
#include "models/family.h"
#include "models/hunyuan_video/config.h"
#include "models/hunyuan_video/transformer.h"
#include "models/hunyuan_video/vae.h"
#include "models/hunyuan_video/vae_encoder.h"
#include "schedulers/flow_match_euler.h"
#include "text/clip.h"
#include "text/llama.h"
#include "text/llava.h"
#include "text/tokenizer.h"

namespace eav::hunyuan_video {

class Pipeline : public Family {
 public:
  explicit Pipeline(const std::filesystem::path& model);

  Request resolve(const Request& request) const override;
  void check_complete(const Request& request) const override;
  MemoryPlan plan(const Request& request, const Placement& placement) const override;
  Grid grid(const Request& request) const override;
  Inspection inspect() const override;

  Conditioning encode(const Request& request, Progress& progress) override;
  Tensor denoise(const Request& request, const Conditioning& conditioning, Progress& progress, Trace& trace) override;
  Tensor decode(const Request& request, const Tensor& latents, Progress& progress) override;
  Tensor shown_latents(const Tensor& latents) const override;

  void release_text_encoder() override;
  void release_transformer() override { transformer_.reset(); }
  void release_vae() override { vae_.reset(); }

 private:
  std::vector<int64_t> latent_shape(const Request& request) const;  // [1, C, F, h, w] for a resolved request
  // Layers that the request's enhancement touches: dual-stream blocks come first.
  EnhanceOptions enhancement(const Request& request) const;
  FlowMatchEulerScheduler scheduler(const Request& request) const;
  bool takes_image() const { return config_.image_condition != ImageCondition::none; }
  void check_image(const Request& request) const;
  void load_text_encoders();
  Tensor image_latents(const Request& request, Progress& progress);  // [1, C, 1, h, w], scaled
  // What the transformer is given: latents [1, C, F, h, w] with the image, if there is one.
  Tensor with_image(const Tensor& latents, const Tensor& image) const;
  Tensor llama_embeds(const std::string& prompt, Progress& progress) const;  // [1, tokens, text_embed_dim]
  // The same of a prompt and a picture [H, W, 3], of whose tokens every `interleave`th is kept.
  Tensor llava_embeds(const std::string& prompt, const Tensor& picture, int64_t interleave, Progress& progress) const;
  Tensor pooled_embeds(const std::string& prompt, Progress& progress) const;  // [1, pooled_projection_dim]

  std::filesystem::path model_;
  TransformerConfig config_;
  VaeConfig vae_config_;
  std::optional<LlavaConfig> llava_config_;  // of image to video
  LlamaConfig llama_config_;
  ClipConfig clip_config_;
  JsonFile scheduler_config_;
  std::optional<Tokenizer> llama_tokenizer_, clip_tokenizer_;
  std::optional<ClipImageProcessor> image_processor_;
  std::optional<LlamaEncoder> llama_;
  std::optional<LlavaEncoder> llava_;
  std::optional<ClipTextEncoder> clip_;
  std::optional<Transformer> transformer_;
  std::optional<VaeEncoder> vae_encoder_;
  std::optional<Vae> vae_;
};

}  // namespace eav::hunyuan_video

// CogVideoX, text to video (diffusers' CogVideoXPipeline).
#pragma once
#include <filesystem>
#include <optional>

#include "models/cogvideox/config.h"
#include "models/cogvideox/transformer.h"
#include "models/cogvideox/vae.h"
#include "models/family.h"
#include "schedulers/cogvideox.h"
#include "text/t5.h"
#include "text/tokenizer.h"

namespace eav::cogvideox {

class Pipeline : public Family {
 public:
  explicit Pipeline(const std::filesystem::path& model);

  Request resolve(const Request& request) const override;
  MemoryPlan plan(const Request& request, const Placement& placement) const override;
  Grid grid(const Request& request) const override;
  Inspection inspect() const override;

  Conditioning encode(const Request& request, Progress& progress) override;
  Tensor denoise(const Request& request, const Conditioning& conditioning, Progress& progress, Trace& trace) override;
  Tensor decode(const Request& request, const Tensor& latents, Progress& progress) override;

  void release_text_encoder() override { text_encoder_.reset(); }
  void release_transformer() override { transformer_.reset(); }
  void release_vae() override { vae_.reset(); }

 private:
  // The latents' shape [1, F, C, h, w] for a resolved request. F counts the padding frames of patch_size_t, which come
  // first and are dropped before decoding.
  std::vector<int64_t> latent_shape(const Request& request) const;
  int64_t padding_frames(const Request& request) const;
  Tensor embed(const std::string& prompt, Progress& progress) const;

  std::filesystem::path model_;
  TransformerConfig config_;
  VaeConfig vae_config_;
  T5Config text_config_;
  JsonFile scheduler_config_;
  std::optional<Tokenizer> tokenizer_;
  std::optional<T5Encoder> text_encoder_;
  std::optional<Transformer> transformer_;
  std::optional<Vae> vae_;
};

}  // namespace eav::cogvideox

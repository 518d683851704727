// LTX-Video, text to video (diffusers' LTXPipeline).
#pragma once
#include <filesystem>
#include <optional>

#include "models/family.h"
#include "models/ltx_video/config.h"
#include "models/ltx_video/transformer.h"
#include "models/ltx_video/vae.h"
#include "schedulers/flow_match_euler.h"
#include "text/t5.h"
#include "text/tokenizer.h"

namespace eav::ltx_video {

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
  Transformer::Size size(const Request& request) const;
  std::vector<int64_t> packed_shape(const Request& request) const;  // [1, T*S, in_channels]
  // The latents that a request begins with, packed; takes from `generator` what they need.
  Tensor initial_latents(const Request& request, at::Generator& generator) const;
  FlowMatchEulerScheduler scheduler(const Request& request) const;
  Caption embed(const std::string& prompt, Progress& progress) const;

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

}  // namespace eav::ltx_video

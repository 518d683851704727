// LTX-Video, from text, images and videos (diffusers' LTXPipeline, LTXImageToVideoPipeline and LTXConditionPipeline).
#pragma once
#include <filesystem>
#include <optional>

#include "models/family.h"
#include "models/ltx_video/config.h"
#include "models/ltx_video/parts.h"
#include "models/ltx_video/start.h"
#include "models/ltx_video/transformer.h"
#include "models/ltx_video/vae.h"
#include "models/ltx_video/vae_encoder.h"
#include "schedulers/flow_match_euler.h"
#include "text/t5.h"
#include "text/tokenizer.h"

namespace eav::ltx_video {

class Pipeline : public Family {
 public:
  explicit Pipeline(const std::filesystem::path& model) : Pipeline(Parts::of_folder(model)) {}
  explicit Pipeline(Parts parts);

  Request resolve(const Request& request) const override;
  MemoryPlan plan(const Request& request, const Placement& placement) const override;
  Grid grid(const Request& request) const override;
  Inspection inspect() const override;

  Conditioning encode(const Request& request, Progress& progress) override;
  Tensor denoise(const Request& request, const Conditioning& conditioning, Progress& progress, Trace& trace) override;
  Tensor decode(const Request& request, const Tensor& latents, Progress& progress) override;

  void release_text_encoder() override {
    text_encoder_.reset();
    vae_encoder_.reset();
  }
  void release_transformer() override { transformer_.reset(); }
  void release_vae() override { vae_.reset(); }

 private:
  VaeEncoderConfig encoder_config() const;
  void check_conditions(const Request& request) const;
  LatentSize size(const Request& request) const;
  std::vector<int64_t> latents_shape(const Request& request) const;  // of what denoise() returns
  // The scheduler with a request's steps, of which the first `skipped_steps` are left out.
  FlowMatchEulerScheduler scheduler(const Request& request) const;
  int64_t skipped_steps(const Request& request) const;
  Caption embed(const std::string& prompt, Progress& progress) const;
  // Mean and standard deviation of a condition's latents.
  std::vector<Tensor> encode_condition(const Condition& condition, const Request& request, Progress& progress);
  Start start(const Request& request, const Conditioning& conditioning, at::Generator& generator) const;

  int64_t caption_tokens() const { return parts_.conditional ? 256 : 128; }

  Parts parts_;
  TransformerConfig config_;
  VaeConfig vae_config_;
  T5Config text_config_;
  std::optional<Tokenizer> tokenizer_;
  std::optional<T5Encoder> text_encoder_;
  std::optional<Transformer> transformer_;
  std::optional<VaeEncoder> vae_encoder_;
  std::optional<Vae> vae_;
  at::Generator generator_;  // of the video in work: decoding goes on drawing where denoising ended
};

}  // namespace eav::ltx_video

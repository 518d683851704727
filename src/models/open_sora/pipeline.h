// Open-Sora v1.2, from text, images and videos (hpcaitech/Open-Sora, scripts/inference.py).
#pragma once
#include <ATen/ATen.h>

#include <filesystem>
#include <optional>
#include <vector>

#include "models/family.h"
#include "models/open_sora/config.h"
#include "models/open_sora/sampling.h"
#include "models/open_sora/transformer.h"
#include "models/open_sora/vae.h"
#include "text/t5.h"
#include "text/t5_folders.h"
#include "text/tokenizer.h"

namespace eav::open_sora {

// Where its parts lie.
struct Parts {
  std::filesystem::path model, transformer, vae;  // folders
  T5Folders text;

  // Whether a folder is such a checkpoint, or its transformer's.
  static bool are_in(const std::filesystem::path& model);
  // `model` holds OpenSora-STDiT-v3/, OpenSora-VAE-v1.2/ and a T5 encoder's folder, or is the transformer's, where the
  // other two are named. Throws eav::Error.
  static Parts find(const ModelPaths& paths);
};

class Pipeline : public Family {
 public:
  explicit Pipeline(Parts parts);

  Request resolve(const Request& request) const override;
  MemoryPlan plan(const Request& request, const Placement& placement) const override;
  VideoSize video_size(const Request& request) const override;
  bool can_tile() const override { return false; }
  Grid grid(const Request& request) const override;
  Inspection inspect() const override;

  // The prompt's caption [tokens, channels], and the latents of each condition [1, C, f, h, w].
  Conditioning encode(const Request& request, Progress& progress) override;
  // The latents of all clips, one after another: [1, C, clips * F, h, w].
  Tensor denoise(const Request& request, const Conditioning& conditioning, Progress& progress, Trace& trace) override;
  Tensor decode(const Request& request, const Tensor& latents, Progress& progress) override;

  void release_text_encoder() override {
    text_encoder_.reset();
    vae_encoder_.reset();
  }
  void release_transformer() override {
    transformer_.reset();
    vae_encoder_.reset();
  }
  void release_vae() override { vae_.reset(); }

 private:
  std::vector<int64_t> latents_shape(const Request& request) const;  // of a clip
  void check_loop(const Request& request) const;
  void check_conditions(const Request& request) const;
  Tensor embed(const Request& request, Progress& progress) const;
  Tensor encode_condition(const Condition& condition, const Request& request, Progress& progress);

  // What a clip begins with: noise and, at their places, frames that it is given.
  struct Given {
    Tensor latents;  // [1, C, F, h, w] float32
    Tensor edited;   // [F] float32: 0 keeps a frame, 1 makes it new
    void put(const Tensor& frames, int64_t first, double strength);
  };
  // Nothing where no frame is given.
  std::optional<Given> given(const Request& request, const Conditioning& conditioning, int64_t clip,
                             const Tensor& end_before, const Tensor& noise) const;
  // The last latents of a clip, as they are when its end is decoded and encoded again.
  Tensor encode_end(const Request& request, const Tensor& clip, Progress& progress);
  const Vae& vae();
  const VaeEncoder& vae_encoder();

  Parts parts_;
  TransformerConfig config_;
  VaeConfig vae_config_;
  T5Config text_config_;
  std::optional<Tokenizer> tokenizer_;
  std::optional<T5Encoder> text_encoder_;
  std::optional<Transformer> transformer_;
  std::optional<Vae> vae_;
  std::optional<VaeEncoder> vae_encoder_;
};

}  // namespace eav::open_sora

// eav_probe vae DIR --latents FILE --out FILE [--tiling] [--storage TYPE]: decodes the tensor "latents" with the
// autoencoder in DIR, computing in float32, and writes the tensor "video".
#include <ATen/ATen.h>

#include <algorithm>
#include <string>
#include <vector>

#include "models/cogvideox/vae.h"
#include "models/hunyuan_video/vae.h"
#include "weights/safetensors.h"

namespace {

template <class Vae, class VaeConfig>
at::Tensor decode(const eav::JsonFile& config, at::ScalarType storage, const at::Tensor& latents, bool tiling) {
  const auto checkpoint =
      eav::Checkpoint::open(config.path().parent_path(), "diffusion_pytorch_model", {.dtype = storage});
  const Vae vae(eav::Weights(checkpoint), VaeConfig::read(config));
  checkpoint.check_all_read(Vae::unneeded_keys());
  eav::Progress progress;
  return vae.decode(latents, tiling, progress);
}

}  // namespace

void vae(const std::vector<std::string>& arguments) {
  const auto option = [&](const std::string& name, const std::string& fallback) {
    const auto found = std::ranges::find(arguments, "--" + name);
    return found == arguments.end() || found + 1 == arguments.end() ? fallback : found[1];
  };
  const std::filesystem::path dir = arguments.at(0);
  const auto storage = option("storage", "float32");
  const auto type = storage == "float16" ? at::kHalf : storage == "bfloat16" ? at::kBFloat16 : at::kFloat;
  const bool tiling = std::ranges::find(arguments, "--tiling") != arguments.end();
  const eav::SafetensorsFile file(option("latents", ""));
  const auto latents = file.view(file.entries().at("latents"));

  const eav::JsonFile config(dir / "config.json");
  const auto family = config.get<std::string>("_class_name") == "AutoencoderKLHunyuanVideo"
                          ? decode<eav::hunyuan_video::Vae, eav::hunyuan_video::VaeConfig>
                          : decode<eav::cogvideox::Vae, eav::cogvideox::VaeConfig>;
  eav::save_safetensors(option("out", ""), {{"video", family(config, type, latents, tiling)}});
}

// eav_probe vae DIR --latents FILE --out FILE [--tiling] [--storage TYPE]: decodes the tensor "latents" with the
// autoencoder in DIR, computing in float32, and writes the tensor "video".
#include <ATen/ATen.h>

#include <algorithm>
#include <string>
#include <vector>

#include "models/cogvideox/vae.h"
#include "weights/safetensors.h"

void vae(const std::vector<std::string>& arguments) {
  const auto option = [&](const std::string& name, const std::string& fallback) {
    const auto found = std::ranges::find(arguments, "--" + name);
    return found == arguments.end() || found + 1 == arguments.end() ? fallback : found[1];
  };
  const std::filesystem::path dir = arguments.at(0);
  const auto storage = option("storage", "float32");
  const auto type = storage == "float16" ? at::kHalf : storage == "bfloat16" ? at::kBFloat16 : at::kFloat;

  const auto checkpoint = eav::Checkpoint::open(dir, "diffusion_pytorch_model", {.dtype = type});
  const auto config = eav::cogvideox::VaeConfig::read(eav::JsonFile(dir / "config.json"));
  const eav::cogvideox::Vae vae(eav::Weights(checkpoint), config);
  checkpoint.check_all_read(eav::cogvideox::Vae::unneeded_keys());

  const eav::SafetensorsFile file(option("latents", ""));
  const auto latents = file.view(file.entries().at("latents"));
  const bool tiling = std::ranges::find(arguments, "--tiling") != arguments.end();
  eav::Progress progress;
  eav::save_safetensors(option("out", ""), {{"video", vae.decode(latents, tiling, progress)}});
}

// One forward pass of Open-Sora's transformer.
#include "bench.h"
#include "enhance/enhancer.h"
#include "models/open_sora/transformer.h"
#include "weights/safetensors.h"

namespace eav::bench {

std::function<void()> open_sora(const Arguments& arguments) {
  const auto& folder = arguments.at(0);
  const SafetensorsFile inputs(arguments.at(1));
  const auto type = Arguments::type_of(arguments.at(2));
  const bool enhanced = arguments.at(3) == "on", maps = arguments.at(3) == "maps";
  const int64_t height = std::stol(arguments.at(4)), width = std::stol(arguments.at(5));

  const auto config = open_sora::TransformerConfig::read(JsonFile(folder + "/config.json"));
  const auto checkpoint = Checkpoint::open(folder, "model", arguments.policy(arguments.at(2)));
  const auto model = std::make_shared<open_sora::Transformer>(Weights(checkpoint), config);
  const auto latents = inputs.view(inputs.entries().at("latents")).to(type);  // [B, 4, F, h, w]
  const auto text = inputs.view(inputs.entries().at("text")).to(type);        // [B, tokens, caption_channels]
  return [=] {
    Enhancer enhancer({.enabled = enhanced || maps, .weight = 4, .maps = maps}, 1, config.depth);
    const Progress progress;
    Step step{model->grid(latents.size(2), latents.size(3), latents.size(4)), enhancer, progress};
    const auto told = model->prepare(text.unbind(), {24, height, width}, latents.size(3), latents.size(4));
    (*model)(latents, at::full({latents.size(0)}, 500.0), told, {}, step);
  };
}

}  // namespace eav::bench

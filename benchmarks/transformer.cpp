// One forward pass of CogVideoX's transformer.
#include "models/cogvideox/transformer.h"

#include "bench.h"
#include "enhance/enhancer.h"
#include "weights/safetensors.h"

namespace eav::bench {

std::function<void()> transformer(const Arguments& arguments) {
  const auto& folder = arguments.at(0);
  const SafetensorsFile inputs(arguments.at(1));
  const auto type = Arguments::type_of(arguments.at(2));
  const bool enhanced = arguments.at(3) == "on";

  const auto config = cogvideox::TransformerConfig::read(JsonFile(folder + "/config.json"));
  const auto checkpoint = Checkpoint::open(folder, "diffusion_pytorch_model", arguments.policy(arguments.at(2)));
  const auto model = std::make_shared<cogvideox::Transformer>(Weights(checkpoint), config);
  const auto latents = inputs.view(inputs.entries().at("latents")).to(type);  // [B, F, C, h, w]
  const auto text = inputs.view(inputs.entries().at("text")).to(type);        // [B, text_len, text_embed_dim]
  return [=] {
    const auto prepared = model->prepare(text, latents.size(1), latents.size(3), latents.size(4));
    Enhancer enhancer({.enabled = enhanced, .weight = 3.4}, 1, config.num_layers);
    const Progress progress;
    Step step{prepared.grid, enhancer, progress};
    (*model)(latents, 500, prepared, step);
  };
}

}  // namespace eav::bench

#include "pipeline/saved.h"

#include <ATen/CPUGeneratorImpl.h>

#include <string_view>

#include "eav/error.h"
#include "eav/record.h"

namespace eav {
namespace {

Tensor bytes_of(std::string_view text) {
  return at::tensor(at::ArrayRef(reinterpret_cast<const uint8_t*>(text.data()), text.size()), at::kByte);
}

}  // namespace

SavedState save(const Denoised& denoised) {
  SavedState state;
  state.add("denoised.", {{{"latents", denoised.latents},
                           {"generator", denoised.generator.get_state()},
                           {"trace", bytes_of(to_json(denoised.trace))}}});
  return state;
}

Denoised load_denoised(const SavedState& state) {
  const auto saved = state.part("denoised.");
  Denoised denoised{saved.tensor("latents").clone(), at::detail::createCPUGenerator(), {}};
  denoised.generator.set_state(saved.like("generator", denoised.generator.get_state()));
  const auto text = saved.like("trace", at::empty({saved.tensor("trace").numel()}, at::kByte));
  denoised.trace =
      parse_trace({reinterpret_cast<const char*>(text.const_data_ptr<uint8_t>()), static_cast<size_t>(text.numel())},
                  "the state to go on from");
  return denoised;
}

}  // namespace eav

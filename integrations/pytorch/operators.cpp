// The method as PyTorch operators: torch.ops.eav.cfi, cfi_per_head, attention_map.
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "eav/error.h"
#include "enhance/cfi.h"

namespace eav {
namespace {
using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Operator = Tensor(const Tensor&, const Tensor&, c10::SymInt);

// Fails when a backward pass reaches it, not when it is recorded: a training step that never needs this gradient, or a
// compiler that traces one, is let alone. It takes the incoming gradient, so that no compiler moves it into the forward
// pass.
Tensor refuse_gradient(const Tensor& /*gradient*/, const Tensor& /*like*/) {
  throw Error("Enhance-A-Video's CFI and attention map have no gradient: detach query and key before");
}

// Runs the operator `Name` below autograd.
template <class Name>
struct WithoutGradient : torch::autograd::Function<WithoutGradient<Name>> {
  static Tensor forward(AutogradContext* context, const Tensor& query, const Tensor& key, const c10::SymInt& frames) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    context->save_for_backward({query, key});
    static const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(Name::value, "").template typed<Operator>();
    return op.call(query, key, frames);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    static const auto refuse = c10::Dispatcher::singleton()
                                   .findSchemaOrThrow("eav::refuse_gradient", "")
                                   .typed<Tensor(const Tensor&, const Tensor&)>();
    const auto inputs = context->get_saved_variables();
    return {refuse.call(gradients[0], inputs[0]), refuse.call(gradients[0], inputs[1]), Tensor()};
  }
};

template <class Name>
Tensor without_gradient(const Tensor& query, const Tensor& key, c10::SymInt frames) {
  return WithoutGradient<Name>::apply(query, key, frames);
}

struct Cfi {
  static constexpr const char* value = "eav::cfi";
};
struct CfiPerHead {
  static constexpr const char* value = "eav::cfi_per_head";
};
struct AttentionMap {
  static constexpr const char* value = "eav::attention_map";
};

Tensor float32_like(const Tensor& query, at::SymIntArrayRef sizes) {
  return at::empty_symint(sizes, query.options().dtype(at::kFloat));
}

}  // namespace
}  // namespace eav

TORCH_LIBRARY(eav, library) {
  library.def("cfi(Tensor query, Tensor key, SymInt frames) -> Tensor");
  library.def("cfi_per_head(Tensor query, Tensor key, SymInt frames) -> Tensor");
  library.def("attention_map(Tensor query, Tensor key, SymInt frames) -> Tensor");
  library.def("refuse_gradient(Tensor gradient, Tensor like) -> Tensor");
}

TORCH_LIBRARY_IMPL(eav, CompositeExplicitAutograd, library) {
  library.impl("cfi", eav::cfi);
  library.impl("cfi_per_head", eav::cfi_per_head);
  library.impl("attention_map", eav::attention_map);
  library.impl("refuse_gradient", eav::refuse_gradient);
}

// Shapes alone, for torch.compile and torch.export.
TORCH_LIBRARY_IMPL(eav, Meta, library) {
  using at::Tensor;
  library.impl("cfi", [](const Tensor& query, const Tensor&, c10::SymInt) {
    return eav::float32_like(query, {query.sym_size(0)});
  });
  library.impl("cfi_per_head", [](const Tensor& query, const Tensor&, c10::SymInt) {
    return eav::float32_like(query, {query.sym_size(0), query.sym_size(1)});
  });
  library.impl("attention_map", [](const Tensor& query, const Tensor&, c10::SymInt frames) {
    return eav::float32_like(query, {query.sym_size(0), query.sym_size(1), frames, frames});
  });
  library.impl("refuse_gradient", [](const Tensor&, const Tensor& like) { return at::empty_like(like); });
}

TORCH_LIBRARY_IMPL(eav, Autograd, library) {
  library.impl("cfi", eav::without_gradient<eav::Cfi>);
  library.impl("cfi_per_head", eav::without_gradient<eav::CfiPerHead>);
  library.impl("attention_map", eav::without_gradient<eav::AttentionMap>);
}

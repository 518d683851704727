#include "enhance/cfi.h"

#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "eav/error.h"
#include "kernels/cfi.h"
#include "kernels/element.h"

namespace eav {
namespace {
using at::Tensor;

void check_shapes(const Tensor& query, const Tensor& key, int64_t frames) {
  if (query.dim() != 4) {
    throw Error(c10::str("query must be [batch, heads, tokens, head size], found ", query.sizes()));
  }
  if (query.sizes() != key.sizes()) {
    throw Error(c10::str("query and key must have one shape, found ", query.sizes(), " and ", key.sizes(),
                         "; repeat the key heads of grouped attention"));
  }
  if (query.device() != key.device()) {
    throw Error(c10::str("query and key must be on one device, found ", query.device(), " and ", key.device()));
  }
  if (!query.is_floating_point() || !key.is_floating_point()) {
    throw Error(
        c10::str("query and key must be floating point, found ", query.scalar_type(), " and ", key.scalar_type()));
  }
  if (query.size(1) == 0 || query.size(3) == 0) {
    throw Error(c10::str("query must have heads with elements, found ", query.sizes()));
  }
  if (frames < 1 || query.size(2) == 0 || query.size(2) % frames != 0) {
    throw Error(c10::str(query.size(2), " tokens do not divide into ", frames,
                         " frames; pass the number of token frames, and leave text tokens out"));
  }
}

// ---- the kernel --------------------------------------------------------------------------------------------------

// Within these, a thread needs less than 1 MB of scratch memory.
constexpr int64_t kMaxKernelFrames = 257;
constexpr int64_t kMaxKernelDim = 256;

// About as many positions of one head make a block: enough work for a thread's trouble, too little for one to wait.
constexpr int64_t kBlockItems = 64;

// The kernel's task, if it can do it.
std::optional<CfiTask> kernel_task(const Tensor& query, const Tensor& key, int64_t frames) {
  const auto element = element_of(query.scalar_type());
  const auto rows_contiguous = [](const Tensor& t) { return t.stride(3) == 1 || t.size(3) == 1; };
  if (!query.is_cpu() || !element || query.scalar_type() != key.scalar_type() || !rows_contiguous(query) ||
      !rows_contiguous(key) || frames > kMaxKernelFrames || query.size(3) > kMaxKernelDim) {
    return std::nullopt;
  }
  const int64_t positions = query.size(2) / frames;
  const auto rows = [&](const Tensor& t) {
    return Rows{t.const_data_ptr(), t.stride(0), t.stride(1), t.stride(2) * positions, t.stride(2)};
  };
  return CfiTask{*element, rows(query), rows(key), query.size(0), query.size(1), frames, positions, query.size(3)};
}

// Per batch row and head, the mass of softmax rows off their diagonal, summed over rows and positions.
Tensor off_diagonal_mass(const CfiTask& task) {
  // Blocks follow the order in memory and depend on nothing else, so that sums come out alike for any thread count.
  const bool heads_inside = task.query.head_stride < task.query.position_stride;
  const int64_t block_heads = heads_inside ? std::min(task.heads, kBlockItems) : 1;
  const int64_t block_positions = std::max<int64_t>(kBlockItems / block_heads, 1);
  const int64_t head_blocks = (task.heads + block_heads - 1) / block_heads;
  const int64_t position_blocks = (task.positions + block_positions - 1) / block_positions;

  std::vector<double> partial(static_cast<size_t>(task.batch * position_blocks * task.heads));
  at::parallel_for(0, task.batch * head_blocks * position_blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      const int64_t position_block = index % position_blocks;
      const int64_t head_block = index / position_blocks % head_blocks;
      const int64_t batch = index / position_blocks / head_blocks;
      const CfiBlock block{batch, head_block * block_heads, std::min((head_block + 1) * block_heads, task.heads),
                           position_block * block_positions,
                           std::min((position_block + 1) * block_positions, task.positions)};
      add_off_diagonal_mass(
          task, block,
          &partial[static_cast<size_t>((batch * position_blocks + position_block) * task.heads + block.head_begin)]);
    }
  });

  auto mass = at::zeros({task.batch, task.heads}, at::kDouble);
  auto* sums = mass.mutable_data_ptr<double>();
  for (int64_t batch = 0; batch < task.batch; ++batch) {
    for (int64_t block = 0; block < position_blocks; ++block) {
      for (int64_t head = 0; head < task.heads; ++head) {
        sums[batch * task.heads + head] +=
            partial[static_cast<size_t>((batch * position_blocks + block) * task.heads + head)];
      }
    }
  }
  return mass;
}

// The temporal attention maps summed over positions: [B, heads, T, T] float32.
Tensor summed_map(const CfiTask& task) {
  auto maps = at::empty({task.batch, task.heads, task.frames, task.frames}, at::kFloat);
  auto* out = maps.mutable_data_ptr<float>();
  const int64_t size = task.frames * task.frames;
  at::parallel_for(0, task.batch * task.heads, 1, [&](int64_t begin, int64_t end) {
    std::vector<double> map(static_cast<size_t>(size));
    for (int64_t index = begin; index < end; ++index) {
      const int64_t head = index % task.heads;
      std::fill(map.begin(), map.end(), 0.0);
      add_attention_map(task, {index / task.heads, head, head + 1, 0, task.positions}, map.data());
      std::transform(map.begin(), map.end(), out + index * size, [](double v) { return static_cast<float>(v); });
    }
  });
  return maps;
}

// ---- plain ATen, on the CPU ---------------------------------------------------------------------------------------

// Elements of the attention maps that exist at a time: 16 MB in float32.
constexpr int64_t kChunkElements = 4 << 20;

// The type that scores are computed in.
at::ScalarType type_of_scores(const Tensor& query) {
  return query.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

// Calls use(maps [B, heads, positions, T, T]) for a few positions at a time, in float32 (float64 for float64 inputs).
template <class Use>
void for_each_map_chunk(const Tensor& query, const Tensor& key, int64_t frames, const Use& use) {
  const int64_t positions = query.size(2) / frames;
  const int64_t map_elements =
      std::max<int64_t>(query.size(0) * query.size(1) * frames * std::max(frames, query.size(3)), 1);
  const int64_t chunk = std::max<int64_t>(kChunkElements / map_elements, 1);
  const double scale = 1 / std::sqrt(static_cast<double>(query.size(3)));
  for (int64_t begin = 0; begin < positions; begin += chunk) {
    const auto part = [&](const Tensor& t) {
      return t.unflatten(2, {frames, positions})
          .slice(3, begin, std::min(begin + chunk, positions))
          .transpose(2, 3)  // [B, heads, positions, T, d]
          .to(type_of_scores(query));
    };
    use(at::softmax(at::matmul(part(query), part(key).transpose(-2, -1)) * scale, -1));
  }
}

Tensor off_diagonal_mass_on_cpu(const Tensor& query, const Tensor& key, int64_t frames) {
  auto mass = at::zeros({query.size(0), query.size(1)}, at::kDouble);
  const auto diagonal = at::eye(frames, query.options().dtype(at::kBool));
  for_each_map_chunk(query, key, frames, [&](const Tensor& maps) {
    mass += maps.masked_fill(diagonal, 0).sum({2, 3, 4});
  });
  return mass;
}

// ---- plain ATen, on other devices ---------------------------------------------------------------------------------

// There every kernel that is launched costs as much as a small one takes: positions and heads are one batch of a
// product of matrices. As attention's queries lie in memory, token by token, that is a view of them.

// Elements of the attention maps of a piece: 128 MB in float32.
constexpr int64_t kPieceElements = 32 << 20;

// q k^T / sqrt(d), in float32 at least: [n, T, d], [n, d, T] -> [n, T, T].
Tensor scores(const Tensor& q, const Tensor& k) {
  static const auto widening = c10::Dispatcher::singleton().findSchemaOrThrow("aten::baddbmm", "dtype");
  const auto type = type_of_scores(q);
  const double scale = 1 / std::sqrt(static_cast<double>(q.size(2)));
  const auto none = at::empty({1, 1, 1}, q.options().dtype(type));  // what the product is added to, times 0
  // Some devices multiply 16-bit matrices into float32.
  const bool both = c10::isReducedFloatingType(q.scalar_type()) && q.scalar_type() == k.scalar_type();
  if (both && q.is_meta()) return at::empty({q.size(0), q.size(1), k.size(2)}, none.options());
  if (both && widening.hasKernelForDispatchKey(c10::highestPriorityBackendTypeId(q.key_set())))
    return at::baddbmm(none, q, k, type, /*beta=*/0, scale);
  return at::baddbmm(none, q.to(type), k.to(type), /*beta=*/0, scale);
}

// Calls use(b, maps [positions, heads, T, T]) for each video b and for many positions at a time.
template <class Use>
void for_each_map_piece(const Tensor& query, const Tensor& key, int64_t frames, const Use& use) {
  const int64_t positions = query.size(2) / frames, heads = query.size(1);
  const int64_t at_once = std::max<int64_t>(kPieceElements / (heads * frames * frames), 1);
  for (int64_t b = 0; b < query.size(0); ++b) {
    for (int64_t begin = 0; begin < positions; begin += at_once) {
      const auto piece = [&](const Tensor& t) {
        return t[b]
            .unflatten(1, {frames, positions})
            .permute({2, 0, 1, 3})  // [S, heads, T, d]
            .slice(0, begin, begin + at_once)
            .flatten(0, 1);
      };
      const auto q = piece(query), k = piece(key).transpose(1, 2);
      use(b, at::softmax(scores(q, k), -1).unflatten(0, {-1, heads}));
    }
  }
}

// Rows of a map sum to 1.
Tensor off_diagonal_mass_on_device(const Tensor& query, const Tensor& key, int64_t frames) {
  const auto diagonal = at::zeros({query.size(0), query.size(1)}, query.options().dtype(type_of_scores(query)));
  for_each_map_piece(query, key, frames, [&](int64_t b, const Tensor& maps) {
    diagonal[b].add_(maps.diagonal(0, -2, -1).sum({0, 2}));
  });
  return static_cast<double>(query.size(2)) - diagonal;
}

// ---- either ---------------------------------------------------------------------------------------------------------

// For as long as it lives, torch.autocast changes no type.
struct NoAutocast {
  c10::impl::ExcludeDispatchKeyGuard guard{c10::autocast_dispatch_keyset};
};

Tensor off_diagonal_mass(const Tensor& query, const Tensor& key, int64_t frames) {
  if (const auto task = kernel_task(query, key, frames)) return off_diagonal_mass(*task);
  return query.is_cpu() ? off_diagonal_mass_on_cpu(query, key, frames)
                        : off_diagonal_mass_on_device(query, key, frames);
}

Tensor mean_off_diagonal(const Tensor& query, const Tensor& key, int64_t frames) {
  check_shapes(query, key, frames);
  const at::NoGradGuard no_grad;
  const NoAutocast no_autocast;
  if (frames == 1) return at::zeros({query.size(0), query.size(1)}, query.options().dtype(at::kFloat));
  return off_diagonal_mass(query, key, frames) / static_cast<double>(query.size(2) * (frames - 1));
}

}  // namespace

Tensor cfi_per_head(const Tensor& query, const Tensor& key, int64_t frames) {
  return mean_off_diagonal(query, key, frames).to(at::kFloat);
}

Tensor cfi(const Tensor& query, const Tensor& key, int64_t frames) {
  return mean_off_diagonal(query, key, frames).mean(1).to(at::kFloat);
}

Tensor attention_map(const Tensor& query, const Tensor& key, int64_t frames) {
  check_shapes(query, key, frames);
  const at::NoGradGuard no_grad;
  const NoAutocast no_autocast;
  const auto positions = query.size(2) / frames;
  if (const auto task = kernel_task(query, key, frames)) return summed_map(*task).div_(static_cast<double>(positions));
  auto sum = at::zeros({query.size(0), query.size(1), frames, frames}, query.options().dtype(at::kFloat));
  if (query.is_cpu())
    for_each_map_chunk(query, key, frames, [&](const Tensor& maps) { sum += maps.sum(2); });
  else
    for_each_map_piece(query, key, frames, [&](int64_t b, const Tensor& maps) { sum[b].add_(maps.sum(0)); });
  return sum.div_(static_cast<double>(positions));
}

}  // namespace eav

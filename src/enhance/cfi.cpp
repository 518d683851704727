#include "enhance/cfi.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
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

// ---- plain ATen --------------------------------------------------------------------------------------------------

// Elements of the attention maps that exist at a time: 16 MB in float32.
constexpr int64_t kChunkElements = 4 << 20;

// Calls use(maps [B, heads, positions, T, T]) for a few positions at a time, in float32 (float64 for float64 inputs).
template <class Use>
void for_each_map_chunk(const Tensor& query, const Tensor& key, int64_t frames, const Use& use) {
  const int64_t positions = query.size(2) / frames;
  const int64_t map_elements =
      std::max<int64_t>(query.size(0) * query.size(1) * frames * std::max(frames, query.size(3)), 1);
  const int64_t chunk = std::max<int64_t>(kChunkElements / map_elements, 1);
  const auto type = query.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const double scale = 1 / std::sqrt(static_cast<double>(query.size(3)));
  for (int64_t begin = 0; begin < positions; begin += chunk) {
    const auto part = [&](const Tensor& t) {
      return t.unflatten(2, {frames, positions})
          .slice(3, begin, std::min(begin + chunk, positions))
          .transpose(2, 3)  // [B, heads, positions, T, d]
          .to(type);
    };
    use(at::softmax(at::matmul(part(query), part(key).transpose(-2, -1)) * scale, -1));
  }
}

Tensor off_diagonal_mass(const Tensor& query, const Tensor& key, int64_t frames) {
  auto mass = at::zeros({query.size(0), query.size(1)}, query.options().dtype(at::kFloat));
  const auto diagonal = at::eye(frames, query.options().dtype(at::kBool));
  if (query.is_cpu()) mass = mass.to(at::kDouble);
  for_each_map_chunk(query, key, frames, [&](const Tensor& maps) {
    mass += maps.masked_fill(diagonal, 0).sum({2, 3, 4});
  });
  return mass;
}

Tensor mean_off_diagonal(const Tensor& query, const Tensor& key, int64_t frames) {
  check_shapes(query, key, frames);
  const at::NoGradGuard no_grad;
  if (frames == 1) return at::zeros({query.size(0), query.size(1)}, query.options().dtype(at::kFloat));
  const auto task = kernel_task(query, key, frames);
  const auto mass = task ? off_diagonal_mass(*task) : off_diagonal_mass(query, key, frames);
  return mass / static_cast<double>(query.size(2) * (frames - 1));
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
  const auto positions = query.size(2) / frames;
  if (const auto task = kernel_task(query, key, frames)) return summed_map(*task).div_(static_cast<double>(positions));
  auto sum = at::zeros({query.size(0), query.size(1), frames, frames}, query.options().dtype(at::kFloat));
  for_each_map_chunk(query, key, frames, [&](const Tensor& maps) { sum += maps.sum(2); });
  return sum.div_(static_cast<double>(positions));
}

}  // namespace eav

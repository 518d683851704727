// The kernel against the formula in float64, and against ATen's attention, on the same bfloat16 numbers.
#include "kernels/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>

#include "instruction_sets.h"

namespace eav {
namespace {

using at::Tensor;

// [B, L, heads, d] in memory, as layers have them, seen as [B, heads, L, d].
Tensor tokens(int64_t batch, int64_t heads, int64_t count, int64_t d) {
  return at::randn({batch, count, heads, d}).to(at::kBFloat16).transpose(1, 2);
}

HeadStrides strides(const Tensor& x) { return {x.stride(0), x.stride(1), x.stride(2)}; }

Tensor with_kernel(const Tensor& q, const Tensor& k, const Tensor& v) {
  // Marked, so that what is not written is seen.
  const auto out = at::full({q.size(0), q.size(2), q.size(1), q.size(3)}, 1e30, q.options()).transpose(1, 2);
  attention({.batch = q.size(0),
             .heads = q.size(1),
             .queries = q.size(2),
             .keys = k.size(2),
             .head_size = q.size(3),
             .sharing = q.size(1) / k.size(1),
             .scale = static_cast<float>(1 / std::sqrt(static_cast<double>(q.size(3)))),
             .q = q.const_data_ptr<at::BFloat16>(),
             .k = k.const_data_ptr<at::BFloat16>(),
             .v = v.const_data_ptr<at::BFloat16>(),
             .out = out.mutable_data_ptr<at::BFloat16>(),
             .q_strides = strides(q),
             .k_strides = strides(k),
             .v_strides = strides(v),
             .out_strides = strides(out)});
  return out;
}

Tensor formula(const Tensor& q, const Tensor& k, const Tensor& v) {
  const auto wide = [&](const Tensor& x) { return x.to(at::kDouble).repeat_interleave(q.size(1) / x.size(1), 1); };
  const auto scores = at::matmul(wide(q), wide(k).transpose(-1, -2)) / std::sqrt(static_cast<double>(q.size(3)));
  return at::matmul(at::softmax(scores, -1), wide(v));
}

double distance(const Tensor& found, const Tensor& expected) {
  return ((found.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

class AttentionKernel : public OnInstructionSet {
 protected:
  void SetUp() override {
    if (!attention_kernel_works()) GTEST_SKIP() << "this CPU has no products of bfloat16 pairs";
    OnInstructionSet::SetUp();
  }

  // The same distance to float64 as ATen has, whose scores and sums are float32 too.
  static void expect_as_exact(const Tensor& q, const Tensor& k, const Tensor& v, const std::string& what) {
    const auto expected = formula(q, k, v);
    const auto theirs = at::scaled_dot_product_attention(q, k, v, {}, 0, false, {}, k.size(1) != q.size(1));
    EXPECT_LE(distance(with_kernel(q, k, v), expected), 1.1 * distance(theirs, expected) + 1e-12) << what;
  }
};
INSTANTIATE_TEST_SUITE_P(Targets, AttentionKernel, on_every_instruction_set(), instruction_set_name);

TEST_P(AttentionKernel, IsItsFormulaForEveryNumberOfTokensAndSizeOfHeads) {
  for (const int64_t d : {2, 32, 64, 72, 80, 96, 128, 256})
    for (const auto& [queries, keys] : {std::pair<int64_t, int64_t>{1, 1}, {3, 2}, {63, 17}, {65, 511}, {130, 1027}})
      expect_as_exact(tokens(2, 3, queries, d), tokens(2, 3, keys, d), tokens(2, 3, keys, d),
                      std::to_string(d) + ": " + std::to_string(queries) + "x" + std::to_string(keys));
}

TEST_P(AttentionKernel, IsAsExactWhereScoresArePeakedOrHaveOutliers) {
  const auto q = tokens(1, 2, 100, 64), k = tokens(1, 2, 700, 64), v = tokens(1, 2, 700, 64);
  expect_as_exact(q * 20, k, v, "peaked");
  auto outliers = k.clone();
  outliers.slice(3, 0, 2).mul_(30);
  expect_as_exact(q, outliers, v, "channels of keys");
  auto values = v.clone();
  values.slice(2, 5, 6).mul_(1000);
  expect_as_exact(q, k, values, "a value");
  // A later block has the larger scores: what was summed before it vanishes.
  auto growing = k.clone();
  growing.slice(2, 600).mul_(100);
  expect_as_exact(q, growing, v, "a later block");
}

TEST_P(AttentionKernel, AHeadOfKeysServesNeighbouringHeadsOfQueries) {
  expect_as_exact(tokens(2, 6, 40, 32), tokens(2, 2, 50, 32), tokens(2, 2, 50, 32), "3 heads share");
}

TEST_P(AttentionKernel, ReadsAnyStridesAndGivesTheSameBitsOnAnyNumberOfThreads) {
  const auto q = tokens(2, 3, 200, 64), k = tokens(2, 3, 600, 64), v = tokens(2, 3, 600, 64);
  const auto expected = with_kernel(q, k, v);
  EXPECT_TRUE(with_kernel(q.contiguous(), k.contiguous(), v.contiguous()).equal(expected));
  const auto threads = at::get_num_threads();
  for (const int count : {1, 3}) {
    at::set_num_threads(count);
    EXPECT_TRUE(with_kernel(q, k, v).equal(expected)) << count << " threads";
  }
  at::set_num_threads(threads);
}

TEST_P(AttentionKernel, PassesOnWhatIsNoNumber) {
  const auto q = tokens(1, 1, 4, 32), k = tokens(1, 1, 20, 32), v = tokens(1, 1, 20, 32);
  const auto lost = [&](const Tensor& queries, const Tensor& keys, const Tensor& values) {
    return with_kernel(queries, keys, values).isnan().sum().item<int64_t>();
  };
  auto one = q.clone();
  one[0][0][2].fill_(std::nan(""));
  EXPECT_EQ(lost(one, k, v), 32);
  for (const int64_t key : {0, 7, 19}) {  // which all queries see
    one = k.clone();
    one[0][0][key].fill_(std::nan(""));
    EXPECT_EQ(lost(q, one, v), 4 * 32) << key;
    one = v.clone();
    one[0][0][key][5] = std::nan("");
    EXPECT_EQ(lost(q, k, one), 4) << key;
  }
}

}  // namespace
}  // namespace eav

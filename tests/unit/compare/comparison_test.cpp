#include "eav/comparison.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "eav/error.h"

namespace eav {
namespace {

std::vector<std::string> names(const std::vector<Variant>& variants) {
  std::vector<std::string> names;
  for (const auto& variant : variants) names.push_back(variant.name);
  return names;
}

ComparisonPlan plan_of(const std::vector<std::string>& given) {
  ComparisonPlan plan{.prompts = {"a", "b"}, .seeds = 2, .variants = {}, .primary = "temporal_ssim"};
  for (const auto& name : given) plan.variants.push_back(Variant::parse(name));
  return plan;
}

TEST(Variant, HasOneNameHoweverItIsGiven) {
  const auto variant = Variant::parse("3.40,steps=12,guidance=5.0,dtype=bfloat16");
  EXPECT_EQ(variant.name, "3.4,dtype=bfloat16,guidance=5,steps=12");
  EXPECT_EQ(variant, Variant::parse(variant.name));
  EXPECT_EQ(variant.enhancement, "3.4");
  EXPECT_EQ(variant.dtype, Dtype::bfloat16);
  EXPECT_EQ(Variant::parse("none,quantize=int8").quantize, Quantize::int8);

  Request request;
  variant.apply(request);
  EXPECT_EQ(request.steps, 12);
  EXPECT_EQ(request.guidance, 5);
  EXPECT_EQ(request.enhance.weight, 3.4);
  Runtime runtime;
  variant.apply(runtime);
  EXPECT_EQ(runtime.dtype, Dtype::bfloat16);
  Variant::parse("none").apply(request);
  EXPECT_FALSE(request.enhance.enabled);
  Variant::parse("auto").apply(request);
  EXPECT_TRUE(request.enhance.enabled && request.enhance.adaptive);
}

TEST(Variant, RefusesWhatCannotBeInOne) {
  for (const auto* text : {"", "x", "101", "steps=12", "3,", "3,steps", "3,steps=", "3,steps=0", "3,colour=red",
                           "3,prompt=a", "3,width=64", "3,negative_prompt=a/b", "3,dtype=int7", "3,enhance_weight=4"})
    EXPECT_THROW(Variant::parse(text), Error) << text;
}

TEST(ComparisonPlan, VariantsAreComparedWithThePlainOneOfTheirEnhancement) {
  const auto plan = plan_of({"3.4,steps=12", "3.4", "none,steps=12", "auto", "none", "auto,steps=9"});
  const auto baseline = [&](const char* name) {
    const auto* found = plan.baseline_of(Variant::parse(name));
    return found == nullptr ? "-" : found->name;
  };
  EXPECT_EQ(baseline("3.4,steps=12"), "3.4");
  EXPECT_EQ(baseline("3.4"), "none");
  EXPECT_EQ(baseline("none,steps=12"), "none");
  EXPECT_EQ(baseline("none"), "-");
  EXPECT_EQ(baseline("auto,steps=9"), "auto");
  const auto order = names(plan.in_order());
  EXPECT_EQ(order, (std::vector<std::string>{"none", "3.4", "none,steps=12", "auto", "3.4,steps=12", "auto,steps=9"}));

  const auto without_none = plan_of({"2", "4", "4,steps=3"});
  EXPECT_EQ(without_none.baseline_of(without_none.variants[0]), nullptr);
  EXPECT_EQ(without_none.baseline_of(without_none.variants[1])->name, "2");
  EXPECT_EQ(without_none.baseline_of(without_none.variants[2])->name, "4");
}

TEST(Nearness, IsAMeanOverPairsWithAnIntervalByPrompts) {
  const auto plan = plan_of({"none", "none,steps=3"});
  const std::vector<double> psnr{40, 42, 30, 32};  // of two prompts
  std::vector<PairSamples> samples;
  for (const auto value : psnr)
    samples.push_back({{"none", {}}, {"none,steps=3", {.measures = {}, .psnr = value, .ssim = value / 100}}});
  const auto near = nearness(plan, samples);
  ASSERT_EQ(near.size(), 1);
  EXPECT_EQ(near[0].baseline, "none");
  EXPECT_DOUBLE_EQ(near[0].psnr.mean, 36);
  EXPECT_DOUBLE_EQ(near[0].psnr.worst, 30);
  EXPECT_DOUBLE_EQ(near[0].ssim.mean, 0.36);
  EXPECT_DOUBLE_EQ(near[0].psnr.low, 31);  // both times the worse prompt: a quarter of what is drawn
  EXPECT_DOUBLE_EQ(near[0].psnr.high, 41);
  samples[2]["none,steps=3"].psnr.reset();  // a file of an older version
  EXPECT_TRUE(nearness(plan, samples).empty());
}

}  // namespace
}  // namespace eav

#include <gtest/gtest.h>

#include "eav/error.h"
#include "eav/lora.h"

namespace eav {
namespace {

TEST(Lora, IsReadFromTheRight) {
  using Expert = Lora::Expert;
  EXPECT_EQ(Lora::parse("a.safetensors"), (Lora{"a.safetensors", {}, Expert::both}));
  EXPECT_EQ(Lora::parse("a.safetensors:0.8"), (Lora{"a.safetensors", 0.8, Expert::both}));
  EXPECT_EQ(Lora::parse("a.safetensors:-1e-1:high"), (Lora{"a.safetensors", -0.1, Expert::high}));
  EXPECT_EQ(Lora::parse("a.safetensors:low"), (Lora{"a.safetensors", {}, Expert::low}));
  EXPECT_EQ(Lora::parse("/loras:2/a:b.safetensors:2"), (Lora{"/loras:2/a:b.safetensors", 2, Expert::both}));
  EXPECT_EQ(Lora::parse("/loras:2/a"), (Lora{"/loras:2/a", {}, Expert::both}));
  EXPECT_EQ(Lora::parse("a:nan"), (Lora{"a:nan", {}, Expert::both}));
}

TEST(Lora, SaysWhatItIs) {
  EXPECT_EQ(Lora::parse("/loras/a.safetensors:0.8:high").str(), "a.safetensors:0.8:high");
  EXPECT_EQ(Lora::parse("/loras/a.safetensors").str(), "a.safetensors");
}

TEST(Lora, NamesAFile) {
  for (const auto* text : {"", ":0.8", ":high", ":1:low"}) EXPECT_THROW(Lora::parse(text), Error) << text;
}

}  // namespace
}  // namespace eav

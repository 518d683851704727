#include "text/caption_cleaning.h"

#include <gtest/gtest.h>

#include <string>

#include "eav/error.h"

namespace {

TEST(CaptionCleaning, RefusesWhatIsNotUtf8) {
  EXPECT_THROW(eav::clean_caption("caf\xe9"), eav::Error);
  EXPECT_THROW(eav::plain_caption("caf\xe9"), eav::Error);
  EXPECT_EQ(eav::clean_caption("caf%E9").text, "caf\uFFFD");  // while escapes may say anything
}

TEST(CaptionCleaning, TellsOfRemovedCharacters) {
  const auto kept = eav::clean_caption("A Cat"), cut = eav::clean_caption("A Cat, 猫");
  EXPECT_EQ(kept.text, "a cat");
  EXPECT_FALSE(kept.removed_cjk);
  EXPECT_EQ(cut.text, "a cat");
  EXPECT_TRUE(cut.removed_cjk);
}

TEST(CaptionCleaning, TellsOfRemovedTags) {
  const auto kept = eav::clean_caption("2 < 3 > 1"), cut = eav::clean_caption("A <b>Cat</b>");
  EXPECT_EQ(kept.text, "2 < 3 > 1");
  EXPECT_FALSE(kept.removed_tags);
  EXPECT_EQ(cut.text, "a cat");
  EXPECT_TRUE(cut.removed_tags);
}

TEST(CaptionCleaning, WhatWouldTakeMinutesIsRefused) {
  std::string addresses;
  for (int i = 0; i < 4000; ++i) addresses += "a.";
  EXPECT_THROW(eav::clean_caption(addresses), eav::Error);
  EXPECT_THROW(eav::clean_caption(std::string(10'001, 'a')), eav::Error);
  EXPECT_EQ(eav::clean_caption("a" + std::string(9990, ' ') + "b").text, "a b");
}

}  // namespace

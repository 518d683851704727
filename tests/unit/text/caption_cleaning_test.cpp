#include "text/caption_cleaning.h"

#include <gtest/gtest.h>

#include <string>

#include "eav/error.h"
#include "text/html.h"

namespace {

TEST(CaptionCleaning, RefusesWhatIsNotUtf8) {
  EXPECT_THROW(eav::clean_caption("caf\xe9"), eav::Error);
  EXPECT_EQ(eav::clean_caption("caf%E9").text, "caf\uFFFD");  // while escapes may say anything
}

TEST(CaptionCleaning, TellsOfRemovedCharacters) {
  const auto kept = eav::clean_caption("A Cat"), cut = eav::clean_caption("A Cat, 猫");
  EXPECT_EQ(kept.text, "a cat");
  EXPECT_FALSE(kept.removed_cjk);
  EXPECT_EQ(cut.text, "a cat");
  EXPECT_TRUE(cut.removed_cjk);
}

// Python's html.parser raises an error here, so that there is no text to compare with.
TEST(HtmlText, KeepsWhatThePythonParserRefuses) {
  const std::string refused = "a <b>cat</b> <![unknown[x]]>";
  EXPECT_EQ(eav::text::html_text(refused), refused);
  EXPECT_EQ(eav::text::html_text("a <b>cat</b> <![cdata[x]]>"), "a cat x");
}

}  // namespace

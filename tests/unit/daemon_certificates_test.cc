#include <gtest/gtest.h>

#include "daemon/certificates.h"

namespace transship {
namespace {

using monitoring::Time;

// {"exp":4102444800} between a header and a signature.
const std::string token = "e30.eyJleHAiOjQxMDI0NDQ4MDB9.c2ln";
const Time end{std::chrono::seconds(4'102'444'800)};

TEST(TokenEnd, OfATokenAlone) {
  EXPECT_EQ(token_end(token), end);
  EXPECT_EQ(token_end("  " + token + "\r\n"), end);
  // {"a":"\u00ff\u00fe??>>","exp":1.5e9} in the letters of URLs
  EXPECT_EQ(token_end("e30.eyJhIjoiw7_Dvj8_Pj4iLCJleHAiOjEuNWU5fQ.c2ln"),
            Time(std::chrono::seconds(1'500'000'000)));
}

TEST(TokenEnd, OfANatsCredentialsFile) {
  EXPECT_EQ(token_end("-----BEGIN NATS USER JWT-----\n" + token +
                      "\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n"
                      "SUAAVVV\n------END USER NKEY SEED------\n"),
            end);
}

TEST(TokenEnd, NothingElseSaysWhen) {
  for (const char* other :
       {"", " ", "secret", "a.b", "a.b.c", "..", "e30.e30.e30", "...", "e30.****.c2ln",
        "e30.eyJleHAiOjB9.c2ln",               // {"exp":0}
        "e30.eyJleHAiOi0xfQ.c2ln",             // {"exp":-1}
        "e30.eyJleHAiOjFlMzAwfQ.c2ln",         // {"exp":1e300}
        "e30.eyJleHAiOiI0MTAyNDQ0ODAwIn0.c2",  // {"exp":"4102444800"}
        "e30.WzFd.c2ln"}) {                    // [1]
    EXPECT_EQ(token_end(other), std::nullopt) << other;
  }
}

}  // namespace
}  // namespace transship

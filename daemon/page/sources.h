#pragma once

#include <string_view>

// page.html, page.css and page.js, as CMake puts them into the program.
namespace transship {

extern const std::string_view page_html;
extern const std::string_view page_css;
extern const std::string_view page_js;

}  // namespace transship

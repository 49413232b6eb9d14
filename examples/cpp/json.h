/* Reads JSON as Python's json module writes it: enough for the description that an exported model carries. Strings keep
 * their escapes, so that they can be written again as they are. */
#ifndef PANODEEPLAB_EXAMPLES_JSON_H
#define PANODEEPLAB_EXAMPLES_JSON_H

#include <cctype>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

struct Json {
    using Array = std::vector<Json>;
    using Object = std::vector<std::pair<std::string, Json>>;
    std::variant<std::nullptr_t, bool, double, std::string, Array, Object> value;

    /* The member of an object. */
    const Json &operator[](const std::string &key) const {
        for (const auto &[name, member] : get<Object>()) {
            if (name == key) {
                return member;
            }
        }
        throw std::runtime_error("the model's description has no \"" + key + '"');
    }
    template <typename T> const T &get() const {
        if (const T *found = std::get_if<T>(&value)) {
            return *found;
        }
        throw std::runtime_error("the model's description has a value of another kind than expected");
    }
    template <typename T> T number() const { return static_cast<T>(get<double>()); }
};

class JsonReader {
  public:
    static Json read(const std::string &text) {
        JsonReader reader{text};
        Json json = reader.value();
        if (reader.next() != '\0') {
            reader.fail();
        }
        return json;
    }

  private:
    explicit JsonReader(const std::string &text) : at_(text.c_str()) {}

    [[noreturn]] static void fail() { throw std::runtime_error("the model's description is not JSON"); }

    char next() {
        while (std::isspace(static_cast<unsigned char>(*at_))) {
            ++at_;
        }
        return *at_;
    }
    bool take(const std::string &word) {
        next();
        const bool found = std::strncmp(at_, word.c_str(), word.size()) == 0;
        at_ += found ? word.size() : 0;
        return found;
    }
    void expect(const char *word) {
        if (!take(word)) {
            fail();
        }
    }
    std::string string() {
        expect("\"");
        const char *start = at_;
        for (; *at_ != '"'; ++at_) {
            at_ += *at_ == '\\' ? 1 : 0;
            if (*at_ == '\0') {
                fail();
            }
        }
        return std::string(start, at_++);
    }
    Json value() {
        if (take("{")) {
            Json::Object members;
            while (!take("}")) {
                if (!members.empty()) {
                    expect(",");
                }
                std::string name = string();
                expect(":");
                members.emplace_back(std::move(name), value());
            }
            return {members};
        }
        if (take("[")) {
            Json::Array items;
            while (!take("]")) {
                if (!items.empty()) {
                    expect(",");
                }
                items.push_back(value());
            }
            return {items};
        }
        if (next() == '"') {
            return {string()};
        }
        if (take("true")) {
            return {true};
        }
        if (take("false")) {
            return {false};
        }
        if (take("null")) {
            return {nullptr};
        }
        char *end;
        const double number = std::strtod(at_, &end);
        if (end == at_) {
            fail();
        }
        at_ = end;
        return {number};
    }

    const char *at_;
};

#endif

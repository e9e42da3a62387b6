import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.List;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.stream.IntStream;

/** What Java's HttpClient sees: {@code java Client.java HOST:PORT} plays all its scenarios. */
public final class Client {
    public static void main(String[] args) throws Exception {
        URI base = URI.create("http://" + args[0]);
        for (HttpClient.Version version : HttpClient.Version.values()) {
            HttpClient client = HttpClient.newBuilder().version(version).connectTimeout(Duration.ofSeconds(10)).build();
            for (String path : List.of("/echo?a=b", "/nothing", "/unavailable", "/large", "/trailers")) {
                tell(client, HttpRequest.newBuilder(base.resolve(path)));
            }
            tell(client, HttpRequest.newBuilder(base.resolve("/echo")).POST(HttpRequest.BodyPublishers.ofString("x".repeat(100_000))));
            tell(client, HttpRequest.newBuilder(base.resolve("/echo")).expectContinue(true).PUT(HttpRequest.BodyPublishers.ofString("hello")));
            List<CompletableFuture<Integer>> many = IntStream.range(0, 30)
                .mapToObj(at -> HttpRequest.newBuilder(base.resolve("/echo?" + at)).build())
                .map(request -> client.sendAsync(request, BodyHandlers.ofString()).thenApply(answer -> answer.statusCode()))
                .toList();
            System.out.println(many.stream().map(CompletableFuture::join).distinct().toList());
        }
    }

    private static void tell(HttpClient client, HttpRequest.Builder request) {
        try {
            var answer = client.send(request.timeout(Duration.ofSeconds(20)).build(), BodyHandlers.ofString());
            var fields = new TreeMap<>(answer.headers().map());
            List.of("connection", "keep-alive", "date").forEach(fields::remove);
            String body = answer.body().length() < 2000 ? answer.body() : String.valueOf(answer.body().length());
            System.out.println(answer.version() + " " + answer.statusCode() + " " + fields + " " + body);
        } catch (Exception error) {
            System.out.println(error.getClass().getSimpleName());
        }
    }
}

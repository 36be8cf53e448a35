import jakarta.servlet.annotation.WebServlet;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Expenses. A servlet as many companies have hundreds: it reads headers, and knows no OAuth. */
@WebServlet(urlPatterns = {"", "/expenses"})
public class ExpensesServlet extends HttpServlet {
    private static final String GRAPH =
            Optional.ofNullable(System.getenv("GRAPH")).orElse("https://graph.microsoft.com/v1.0");
    private static final Pattern DISPLAY_NAME = Pattern.compile("\"displayName\"\\s*:\\s*\"((?:[^\"\\\\]|\\\\.)*)\"");

    private final List<String> expenses = new CopyOnWriteArrayList<>();
    private final HttpClient client =
            HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(5)).build();

    @Override
    protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
        String user = request.getHeader("X-User");
        if (user == null) {
            response.sendError(HttpServletResponse.SC_FORBIDDEN);
            return;
        }
        StringBuilder list = new StringBuilder();
        for (String expense : expenses) {
            list.append("<li>").append(html(expense)).append("</li>\n");
        }
        response.setContentType("text/html;charset=UTF-8");
        response.getWriter().printf("""
                <!doctype html>
                <title>Expenses</title>
                <style>body { font: 16px sans-serif; margin: 2em }</style>
                <h1>Expenses</h1>
                <p>Hello <b id="name">%s</b> (<span id="user">%s</span>).
                   <a href="/.auth/logout">Sign out</a></p>
                <ul>%s</ul>
                <form method="post" action="/expenses">
                  <input name="what" required> <button>Hand in</button>
                </form>
                """, html(displayName(request)), html(user), list);
    }

    @Override
    protected void doPost(HttpServletRequest request, HttpServletResponse response) throws IOException {
        request.setCharacterEncoding("UTF-8");
        expenses.add(displayName(request) + ": " + request.getParameter("what"));
        response.setStatus(HttpServletResponse.SC_SEE_OTHER);
        response.setHeader("Location", "/");
    }

    /** The user's name as Microsoft Graph knows it, asked with the user's own token. */
    private String displayName(HttpServletRequest request) throws IOException {
        HttpRequest call = HttpRequest.newBuilder(URI.create(GRAPH + "/me"))
                .header("Authorization", Optional.ofNullable(request.getHeader("Authorization")).orElse(""))
                .timeout(Duration.ofSeconds(10))
                .build();
        try {
            Matcher name = DISPLAY_NAME.matcher(client.send(call, BodyHandlers.ofString()).body());
            return name.find() ? name.group(1) : "?";
        } catch (InterruptedException interrupted) {
            throw new IOException(interrupted);
        }
    }

    private static String html(String text) {
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\"", "&quot;");
    }
}
